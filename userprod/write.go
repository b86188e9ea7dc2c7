package userprod

import (
	"context"

	"github.com/rbtool/rbtool/internal/ring"
)

// copyLocked is up to how many bytes are copied while others wait.
const copyLocked = 4096

// TryWrite writes b as one sample, or fails with [ErrFull]. Other errors are those of
// [Producer.Reserve].
func (p *Producer) TryWrite(b []byte) error {
	if len(b) > copyLocked {
		s, err := p.Reserve(len(b))
		if err != nil {
			return err
		}
		copy(s.Bytes(), b)
		return s.Commit()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lacks(len(b)) {
		if err := p.room(len(b)); err != nil {
			return err
		}
	}
	pos, n := p.head, uint32(len(b))
	p.data.SetTagged(pos, ring.Tag(ring.Header(n), 0))
	copy(p.data.Payload(pos, n), b)
	p.head = pos + ring.Span(n)
	return p.publish(pos, p.head)
}

// publish moves producer_pos to end: the samples from start to there are
// complete. The caller holds mu, so that nobody reserves behind end; those who
// commit what is before start move producer_pos to start at most.
func (p *Producer) publish(start, end uint64) error {
	old := p.mem.SwapProducerPos(end)
	if old-p.low > start-p.low || p.failed.Load() != nil {
		if err := p.failure(); err != nil {
			return err // the memory may be no longer the ring's
		}
		return p.moved(old, start)
	}
	p.low = end
	return nil
}

// Write writes b as one sample. It waits for room, until Close.
func (p *Producer) Write(b []byte) (int, error) {
	if err := p.WriteWait(context.Background(), b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// WriteWait is Write that waits until ctx is done at most.
func (p *Producer) WriteWait(ctx context.Context, b []byte) error {
	return p.whenRoom(ctx, len(b), func() error { return p.TryWrite(b) })
}
