package userprod

import (
	"context"

	"github.com/rbtool/rbtool/internal/ring"
)

// copyLocked is up to how many bytes are copied while others wait.
const copyLocked = 4096

// TryWrite writes b as one sample, or fails with [ErrFull]. Other errors are those of
// [Producer.Reserve].
func (p *Producer) TryWrite(b []byte) error { return p.tryWrite(b, false) }

// tryWrite is TryWrite. If held, the caller has locked mu and b has at most copyLocked bytes;
// tryWrite unlocks mu in any case. A flag instead of a context keeps the fast path in registers.
func (p *Producer) tryWrite(b []byte, held bool) error {
	if len(b) > copyLocked {
		return p.tryWriteLarge(context.Background(), b)
	}
	if !held && !p.mu.TryLock() {
		if err := p.mu.wait(context.Background()); err != nil {
			return err
		}
	}
	if p.lacks(len(b)) {
		if err := p.room(p.head, len(b)); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	n := uint32(len(b))
	room := p.data.Window(p.head)
	room.SetHeader(0, ring.Header(n))
	copy(room.Room(0, n), b)
	if !p.publish(p.head + ring.Span(n)) {
		err := p.unpublished()
		p.mu.Unlock()
		return err
	}
	p.mu.Unlock()
	return nil
}

func (p *Producer) tryWriteLarge(ctx context.Context, b []byte) error {
	s, err := p.reserve(ctx, len(b))
	if err != nil {
		return err
	}
	copy(s.Bytes(), b)
	return s.Commit()
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
	return p.whenRoom(ctx, len(b), func() error {
		if len(b) > copyLocked {
			return p.tryWriteLarge(ctx, b)
		}
		if err := p.mu.Lock(ctx); err != nil {
			return err
		}
		return p.tryWrite(b, true)
	})
}
