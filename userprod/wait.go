package userprod

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// awaitRoom blocks until a sample of n bytes fits. Another goroutine may take that room before the
// caller does. samples is the number of samples that are refused if ctx ends the wait.
func (p *Producer) awaitRoom(ctx context.Context, n, samples int) error {
	if err := ctx.Err(); err != nil {
		p.countRefused(ErrFull, samples, n)
		return err
	}
	return p.whenRoom(ctx, n, samples, func() error {
		if err := p.mu.Lock(ctx); err != nil {
			return err
		}
		defer p.mu.Unlock()
		return p.room(p.head, n)
	})
}

// whenRoom calls try until its error is not ErrFull, and returns that error. Between calls
// it waits for room for n bytes. If ctx ends the wait, it counts samples of n bytes as refused.
func (p *Producer) whenRoom(ctx context.Context, n, samples int, try func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A call must not overtake a waiting call: a large sample would never get room.
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
		p.countRefused(ErrFull, samples, n)
		return ctx.Err()
	case <-p.done:
		return errClosed
	}
	for {
		if err := try(); err != ErrFull {
			return err
		}
		if err := p.sleep(ctx, n); err != nil {
			if err == ctx.Err() {
				p.countRefused(ErrFull, samples, n)
			}
			return err
		}
	}
}

// sleep blocks until the kernel has freed room for n bytes at head.
func (p *Producer) sleep(ctx context.Context, n int) error {
	if err := p.mu.Lock(ctx); err != nil {
		return err
	}
	need := p.head.Next(uint32(n)) - ring.Pos(p.size)
	p.mu.Unlock()
	// The kernel stores consumer_pos before it wakes the producer (bpf_user_ringbuf_drain). So if
	// roomy has loaded the old position, a wakeup follows.
	roomy := func() bool { return p.failed.Load() != nil || need.NotAfter(p.pos.ConsumerPos()) }
	p.waits.Add(1)
	began := time.Now()
	late, err := p.poller.Wait(ctx, p.timer,
		func(int) bool { return roomy() },
		func() bool { return roomy() || p.stuck() })
	p.pos.Refusals().Nanos.Add(uint64(time.Since(began)))
	if errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	if late {
		p.late.Add(1)
	}
	return err
}

// stuck reports whether the kernel cannot continue to drain because another process wrote to the
// ring. While another goroutine holds mu, it does not check, and returns false.
func (p *Producer) stuck() bool {
	if !p.mu.TryLock() {
		return false
	}
	defer p.mu.Unlock()
	return p.checkHead(p.pos.ConsumerPos()) != nil
}
