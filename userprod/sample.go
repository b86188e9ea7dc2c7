package userprod

import (
	"context"
	"sync/atomic"

	"github.com/rbtool/rbtool/internal/ring"
)

// Sample is room in the ring for one sample. It may be copied; of all copies one
// Commit or Discard succeeds.
type Sample struct {
	p      *Producer
	header *ring.Tagged // where it lies in the ring
	pos    uint64
	busy   ring.Tagged // the header until then
}

// Reserve hands out room for a sample of n bytes. Until it is committed or
// discarded, the kernel does not see the samples reserved after it. The error is
// [ErrFull], [ErrTooLarge], [ErrCorrupt] or [os.ErrClosed].
func (p *Producer) Reserve(n int) (Sample, error) { return p.reserve(context.Background(), n) }

// reserve is Reserve that waits for a Batch of another goroutine until ctx is done.
func (p *Producer) reserve(ctx context.Context, n int) (Sample, error) {
	if !p.mu.TryLock() {
		if err := p.mu.wait(ctx); err != nil {
			return Sample{}, err
		}
	}
	if p.lacks(n) {
		if err := p.room(p.head, n); err != nil {
			p.mu.Unlock()
			return Sample{}, err
		}
	}
	s := Sample{p, p.data.Place(p.head), p.head, reserved(p.head, uint32(n))}
	*s.header = s.busy
	if !p.publish(s.pos + ring.Span(uint32(n))) {
		err := p.unpublished()
		p.mu.Unlock()
		return Sample{}, err
	}
	p.mu.Unlock()
	return s, nil
}

// reserved is the header of a sample of n bytes at pos that is not complete.
func reserved(pos uint64, n uint32) ring.Tagged {
	return ring.Tag(ring.Header(n|ring.BusyBit), tagOf(pos))
}

// Bytes is the room: memory of the ring, with what was in it before. It is valid until
// Commit or Discard; what is written into it after Close goes nowhere, as long
// as the Sample is not garbage.
func (s Sample) Bytes() []byte {
	if s.p == nil {
		return nil
	}
	n := uint32(s.busy.Header() &^ ring.BusyBit)
	return s.p.data.Payload(s.pos, n)[:n:n]
}

// Commit gives the sample to the kernel. The error is [ErrDone] when it had been
// committed or discarded, [ErrCorrupt] when somebody wrote over its header, or
// [os.ErrClosed].
func (s Sample) Commit() error {
	// MoveTagged, written out: only so the compiler inlines Commit and Discard. In the zeroed
	// memory that Close leaves in the ring's place no header is that of a reserved sample.
	if s.p != nil && atomic.CompareAndSwapUint64((*uint64)(s.header), uint64(s.busy), uint64(s.busy^ring.BusyBit)) {
		return nil
	}
	return s.refused()
}

// Discard gives it up; the kernel passes over it. Errors are those of Commit.
func (s Sample) Discard() error {
	if s.p != nil && atomic.CompareAndSwapUint64((*uint64)(s.header), uint64(s.busy), uint64(s.busy^(ring.BusyBit|ring.DiscardBit))) {
		return nil
	}
	return s.refused()
}

// refused tells why the header was not that of a reserved sample.
func (s Sample) refused() error {
	if s.p == nil {
		return ErrDone
	}
	t, cons := s.p.data.Tagged(s.pos), s.p.pos.ConsumerPos()
	if err := s.p.failure(); err != nil {
		return err
	}
	// The kernel does not pass a BUSY sample, so this one was not.
	if int64(cons-s.pos) > 0 || t.Tag() == tagOf(s.pos) && !t.Header().Busy() {
		return ErrDone
	}
	return s.p.corrupt("header %#x of the reserved sample at position %d", uint64(t), s.pos)
}
