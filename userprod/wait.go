package userprod

import (
	"context"
	"errors"
	"os"

	"github.com/rbtool/rbtool/internal/ring"
)

// ReserveWait is Reserve that waits for room, and for a Batch of another goroutine to end,
// until ctx is done or Close. Waiting goroutines get their room in the order in which they
// came.
//
// Waiting costs a goroutine, not a thread, and no CPU time but the slow timer's.
func (p *Producer) ReserveWait(ctx context.Context, n int) (s Sample, err error) {
	err = p.whenRoom(ctx, n, func() (err error) {
		s, err = p.reserve(ctx, n)
		return err
	})
	return s, err
}

// Wait blocks until a sample of n bytes fits. Another goroutine may take that room
// before this one does.
func (p *Producer) Wait(ctx context.Context, n int) error {
	return p.whenRoom(ctx, n, func() error {
		if err := p.mu.Lock(ctx); err != nil {
			return err
		}
		defer p.mu.Unlock()
		return p.room(p.head, n)
	})
}

// whenRoom calls try until it says something other than ErrFull, and returns that. It
// waits for room for n bytes in between.
func (p *Producer) whenRoom(ctx context.Context, n int, try func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Who comes later does not overtake: a large sample would wait for ever.
	if p.queue.Load() == 0 {
		if err := try(); err != ErrFull {
			return err
		}
	}
	p.queue.Add(1)
	defer p.queue.Add(-1)
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	case <-p.done:
		return errClosed
	}
	for {
		if err := try(); err != ErrFull {
			return err
		}
		if err := p.sleep(ctx, n); err != nil {
			return err
		}
	}
}

// sleep blocks until the kernel has made room for n bytes at head.
func (p *Producer) sleep(ctx context.Context, n int) error {
	if err := p.mu.Lock(ctx); err != nil {
		return err
	}
	need := p.head + ring.Span(uint32(n)) - p.size
	p.mu.Unlock()
	// The kernel stores consumer_pos, then wakes (bpf_user_ringbuf_drain). So who
	// finds the old one in woken is woken for the new one.
	roomy := func() bool { return p.failed.Load() != nil || int64(p.pos.ConsumerPos()-need) >= 0 }
	p.waits.Add(1)
	late, err := p.poller.Wait(ctx, p.opts.timer(),
		func(int) bool { return roomy() },
		func() bool { return roomy() || p.stuck() })
	if errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	if late {
		p.late.Add(1)
	}
	return err
}

// stuck looks whether somebody has written into the ring so that the kernel
// cannot go on, unless another goroutine is at work.
func (p *Producer) stuck() bool {
	if !p.mu.TryLock() {
		return false
	}
	defer p.mu.Unlock()
	return p.checkHead(p.pos.ConsumerPos()) != nil
}
