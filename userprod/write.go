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
		return p.tryWriteLarge(b)
	}
	// Without defer, which would be a tenth of it.
	p.mu.Lock()
	pos, n := p.head, uint32(len(b))
	span := ring.Span(n)
	if span > p.limit-pos { // also when b is larger than the ring
		if err := p.room(len(b)); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	room := p.data.Window(pos)
	room.SetHeader(0, ring.Header(n))
	copy(room.Room(0, n), b)
	p.head = pos + span
	old := p.mem.SwapProducerPos(pos + span)
	if old-p.low > pos-p.low || p.failed.Load() != nil {
		if err := p.judge(old, pos); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	p.low = pos + span
	p.mu.Unlock()
	return nil
}

func (p *Producer) tryWriteLarge(b []byte) error {
	s, err := p.Reserve(len(b))
	if err != nil {
		return err
	}
	copy(s.Bytes(), b)
	return s.Commit()
}

// judge returns what is wrong after a swap of producer_pos that found old. What
// begins at start was not published before; who commits what is reserved before it
// moves producer_pos up to start. The caller holds mu.
func (p *Producer) judge(old, start uint64) error {
	if err := p.failure(); err != nil {
		return err // the memory may be no longer the ring's
	}
	if old-p.low > start-p.low {
		return p.moved(old, start)
	}
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
