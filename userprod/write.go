package userprod

import (
	"context"

	"github.com/rbtool/rbtool/internal/ring"
)

// copyLocked is up to how many bytes are copied while others wait.
const copyLocked = 4096

// TryWrite writes b as one sample, or fails with [ErrFull]. Other errors are those of
// [Producer.Reserve].
func (p *Producer) TryWrite(b []byte) error { return p.tryWrite(context.Background(), b) }

// tryWrite is TryWrite that waits for a Batch of another goroutine until ctx is done.
func (p *Producer) tryWrite(ctx context.Context, b []byte) error {
	if len(b) > copyLocked {
		return p.tryWriteLarge(ctx, b)
	}
	if !p.mu.TryLock() {
		if err := p.mu.wait(ctx); err != nil {
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
	return p.whenRoom(ctx, len(b), func() error { return p.tryWrite(ctx, b) })
}
