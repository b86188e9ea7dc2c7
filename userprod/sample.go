package userprod

import (
	"context"
	"sync/atomic"

	"github.com/rbtool/rbtool/internal/ring"
)

// Sample is room in the ring for one sample, from [Producer.Reserve]. A Sample may be copied and
// used by any goroutine. Of all calls of Commit and Discard on all copies, one succeeds.
type Sample struct {
	p      *Producer
	header *ring.Tagged // in the ring
	pos    ring.Pos
	busy   ring.Tagged // the header until Commit or Discard
}

// Reserve returns room for a sample of n bytes. The caller must commit or discard it: until then,
// the kernel does not drain the samples reserved after it.
//
// Reserve waits for room, and for the end of the [Batch] of another goroutine, until ctx is done or
// the Producer is closed. Waiting goroutines get room in the order of their calls. A wait uses a
// goroutine, not a thread, and no CPU time except for the timer. A goroutine that waits while it
// has reserved Samples may wait forever, because the kernel frees no room beyond them.
//
// The error matches [ErrTooLarge], [ErrCorrupt], [ErrBusy] if the ring was stolen, or
// [os.ErrClosed], or is that of ctx.
func (p *Producer) Reserve(ctx context.Context, n int) (s Sample, err error) {
	err = p.whenRoom(ctx, n, 1, func() (err error) {
		s, err = p.reserve(ctx, n, true)
		return err
	})
	return s, err
}

// TryReserve is [Producer.Reserve] without the wait for room: it fails with [ErrFull]. It still
// waits for the end of the Batch of another goroutine.
func (p *Producer) TryReserve(n int) (Sample, error) {
	return p.reserve(context.Background(), n, false)
}

// reserve reserves a sample, or fails with ErrFull. waits says that the caller then waits for room,
// so that the sample is not refused yet. reserve waits for the end of a Batch of another goroutine
// until ctx is done.
func (p *Producer) reserve(ctx context.Context, n int, waits bool) (Sample, error) {
	if !p.mu.TryLock() {
		if err := p.mu.wait(ctx); err != nil {
			return Sample{}, err
		}
	}
	if p.lacks(n) {
		if err := p.room(p.head, n); err != nil {
			p.mu.Unlock()
			if !waits {
				p.countRefused(err, 1, n)
			}
			return Sample{}, err
		}
	}
	// If another process has moved producer_pos, the header at head may belong to that process.
	if p.unmoved() {
		s := Sample{p, p.data.Place(p.head), p.head, reserved(p.head, uint32(n))}
		*s.header = s.busy
		if p.holds() && p.advance(s.pos.Next(uint32(n))) {
			p.mu.Unlock()
			return s, nil
		}
	}
	err := p.unpublished()
	p.mu.Unlock()
	return Sample{}, err
}

// reserved returns the header of a busy sample of n bytes at pos.
func reserved(pos ring.Pos, n uint32) ring.Tagged {
	return ring.Tag(ring.Header(n|ring.BusyBit), tagOf(pos))
}

// Bytes returns the memory of the sample in the ring, which has its previous contents. Fill it
// before Commit or Discard, and do not use it afterwards. After Close of the Producer it is private
// memory, and what is written there is lost. The memory is valid while the Sample is reachable.
func (s Sample) Bytes() []byte {
	if s.p == nil {
		return nil
	}
	n := uint32(s.busy.Header() &^ ring.BusyBit)
	return s.p.data.Payload(s.pos, n)[:n:n]
}

// Commit publishes the sample. The error matches [ErrDone] if the sample was committed or discarded
// already, [ErrCorrupt] if another process overwrote the header, [ErrBusy] if the ring was stolen,
// or [os.ErrClosed] after Close of the Producer.
func (s Sample) Commit() error {
	// This is MoveTagged written out, so that the compiler inlines Commit and Discard. After Close
	// the memory is zero, which is not the header of a reserved sample.
	if s.p != nil && atomic.CompareAndSwapUint64((*uint64)(s.header), uint64(s.busy), uint64(s.busy^ring.BusyBit)) {
		return nil
	}
	return s.refused()
}

// Discard makes the kernel skip the sample. Errors are those of Commit.
func (s Sample) Discard() error {
	if s.p != nil && atomic.CompareAndSwapUint64((*uint64)(s.header), uint64(s.busy), uint64(s.busy^(ring.BusyBit|ring.DiscardBit))) {
		return nil
	}
	return s.refused()
}

// refused returns the reason why the header is not that of a reserved sample.
func (s Sample) refused() error {
	if s.p == nil {
		return ErrDone
	}
	t, cons := s.p.data.Tagged(s.pos), s.p.pos.ConsumerPos()
	if err := s.p.failure(); err != nil {
		return err
	}
	// The kernel does not move consumer_pos beyond a busy sample: if it is beyond s, s is done.
	if s.pos.Before(cons) || t.Tag() == tagOf(s.pos) && !t.Header().Busy() {
		return ErrDone
	}
	return s.p.corrupt("header %#x of the reserved sample at position %d", uint64(t), s.pos)
}
