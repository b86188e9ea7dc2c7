package userprod

import (
	"context"

	"github.com/rbtool/rbtool/internal/ring"
)

// copyLocked is the largest number of bytes that are copied while mu is held.
const copyLocked = 4096

// Write copies b into the ring as one sample, and publishes it. It waits for room, and fails, as
// [Producer.Reserve] does. The caller may reuse b.
func (p *Producer) Write(ctx context.Context, b []byte) error {
	return p.whenRoom(ctx, len(b), 1, func() error {
		if len(b) > copyLocked {
			return p.writeLarge(ctx, b, true)
		}
		if err := p.mu.Lock(ctx); err != nil {
			return err
		}
		return p.tryWrite(b, true)
	})
}

// TryWrite is [Producer.Write] without the wait for room: it fails with [ErrFull]. It still waits
// for the end of the Batch of another goroutine.
func (p *Producer) TryWrite(b []byte) error { return p.tryWrite(b, false) }

// tryWrite is TryWrite. If held is true, the caller is Write, which has locked mu and waits if there
// is no room, and b has at most copyLocked bytes. tryWrite unlocks mu in any case. A flag instead of
// a context keeps the fast path in registers.
func (p *Producer) tryWrite(b []byte, held bool) error {
	if len(b) > copyLocked {
		return p.writeLarge(context.Background(), b, false)
	}
	if !held && !p.mu.TryLock() {
		if err := p.mu.wait(context.Background()); err != nil {
			return err
		}
	}
	if p.lacks(len(b)) {
		if err := p.room(p.head, len(b)); err != nil {
			p.mu.Unlock()
			if !held {
				p.countRefused(err, 1, len(b))
			}
			return err
		}
	}
	n := uint32(len(b))
	room := p.data.Window(p.head)
	room.SetHeader(0, ring.Header(n))
	copy(room.Room(0, n), b)
	if !p.publish(p.head.Next(n)) {
		err := p.unpublished()
		p.mu.Unlock()
		return err
	}
	p.mu.Unlock()
	return nil
}

// writeLarge writes b, or fails with ErrFull. It does not hold mu while it copies.
func (p *Producer) writeLarge(ctx context.Context, b []byte, waits bool) error {
	s, err := p.reserve(ctx, len(b), waits)
	if err != nil {
		return err
	}
	copy(s.Bytes(), b)
	return s.Commit()
}
