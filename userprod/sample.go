package userprod

import "github.com/rbtool/rbtool/internal/ring"

// Sample is room in the ring for one sample. It may be copied; of all copies one
// Commit or Discard succeeds.
type Sample struct {
	p   *Producer
	pos uint64
	n   uint32
}

// Reserve hands out room for a sample of n bytes. Until it is committed or
// discarded, the kernel does not see the samples reserved after it. The error is
// [ErrFull], [ErrTooLarge], [ErrCorrupt] or [os.ErrClosed].
func (p *Producer) Reserve(n int) (Sample, error) {
	p.mu.Lock()
	if p.lacks(n) {
		if err := p.room(p.head, n); err != nil {
			p.mu.Unlock()
			return Sample{}, err
		}
	}
	pos := p.head
	p.data.SetTagged(pos, reserved(pos, uint32(n)))
	if !p.publish(pos + ring.Span(uint32(n))) {
		err := p.unpublished()
		p.mu.Unlock()
		return Sample{}, err
	}
	p.mu.Unlock()
	return Sample{p, pos, uint32(n)}, nil
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
	return s.p.data.Payload(s.pos, s.n)[:s.n:s.n]
}

// Commit gives the sample to the kernel. The error is [ErrDone] when it had been
// committed or discarded, [ErrCorrupt] or [os.ErrClosed].
func (s Sample) Commit() error { return s.finish(0) }

// Discard gives it up; the kernel passes over it. Errors are those of Commit.
func (s Sample) Discard() error { return s.finish(ring.DiscardBit) }

// finish takes the BUSY bit away.
func (s Sample) finish(flag ring.Header) error {
	if s.p == nil {
		return ErrDone
	}
	done := ring.Tag(ring.Header(s.n)|flag, tagOf(s.pos))
	if !s.p.data.MoveTagged(s.pos, reserved(s.pos, s.n), done) {
		return s.refused()
	}
	return s.p.failure()
}

// refused tells why the header was not that of a reserved sample.
func (s Sample) refused() error {
	t, cons := s.p.data.Tagged(s.pos), s.p.mem.ConsumerPos()
	if err := s.p.failure(); err != nil {
		return err
	}
	// The kernel does not pass a BUSY sample, so this one was not.
	if int64(cons-s.pos) > 0 || t.Tag() == tagOf(s.pos) && !t.Header().Busy() {
		return ErrDone
	}
	return s.p.corrupt("header %#x of the reserved sample at position %d", uint64(t), s.pos)
}
