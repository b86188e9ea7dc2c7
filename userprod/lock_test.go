package userprod

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestLockExcludes(t *testing.T) {
	testenv.NoLeaks(t)
	var (
		l   = newLock(nil)
		n   int // a plain variable, so the race detector checks the lock
		all sync.WaitGroup
	)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	const goroutines, times = 9, 2000
	for g := range goroutines {
		all.Go(func() {
			for range times {
				unlock := l.Unlock
				switch {
				case g%3 == 0:
					l.LockLong(t.Context())
					unlock = l.UnlockLong
				case g%3 == 1 && l.TryLock():
				case g%3 == 1 && l.Lock(over) == nil: // Lock succeeds if it does not sleep
				default:
					l.Lock(t.Context())
				}
				n++
				unlock()
			}
		})
	}
	all.Wait()
	if n != goroutines*times {
		t.Errorf("%d of %d additions", n, goroutines*times)
	}
}

// Goroutines that wait for a long critical section use no CPU time.
func TestThoseWhoWaitForALongLockSleep(t *testing.T) {
	testenv.NoLeaks(t)
	var (
		l   = newLock(nil)
		all sync.WaitGroup
	)
	l.LockLong(t.Context())
	for range 4 {
		all.Go(func() {
			l.Lock(t.Context())
			defer l.Unlock()
		})
		all.Go(func() {
			l.LockLong(t.Context())
			defer l.UnlockLong()
		})
	}
	asleepInGate(t, 8)
	l.UnlockLong()
	all.Wait()
}

// asleepInGate waits until n goroutines sleep in a gate.
func asleepInGate(t *testing.T, n int) {
	t.Helper()
	asleep := func() (n int) {
		stacks := make([]byte, 1<<20)
		for stack := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			state, calls, _ := bytes.Cut(stack, []byte("\n"))
			if bytes.Contains(state, []byte("[select")) && bytes.Contains(calls, []byte("userprod.(*gate).sleep(")) {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(20 * time.Second); asleep() < n; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d sleep", asleep(), n)
		}
	}
}

// held are the calls that wait while another goroutine has a Batch.
var held = []struct {
	name    string
	context bool // whether the context of the call ends the wait
	call    func(ctx context.Context, p *Producer) error
}{
	{"Reserve", true, waits[0].wait},
	{"Write", true, waits[1].wait},
	{"WriteAll", true, waits[2].wait},
	{"Write of a large sample", true, func(ctx context.Context, p *Producer) error {
		return p.Write(ctx, make([]byte, copyLocked+1))
	}},
	{"TryWrite", false, func(_ context.Context, p *Producer) error { return p.TryWrite(nil) }},
	{"TryReserve", false, func(_ context.Context, p *Producer) error { _, err := p.TryReserve(8); return err }},
	{"TryWriteAll", false, func(_ context.Context, p *Producer) error { _, err := TryWriteAll(p, []uint64{1}); return err }},
	{"Batch", true, func(ctx context.Context, p *Producer) error {
		b, err := p.Batch(ctx)
		if err != nil {
			return err
		}
		return b.End()
	}},
	{"Batch and TryNext", false, func(_ context.Context, p *Producer) error {
		b := begin(p)
		defer b.End()
		_, err := b.TryNext(8)
		return err
	}},
	{"Batch and values", false, func(_ context.Context, p *Producer) error {
		b := begin(p)
		defer b.End()
		_, err := appendAll(b, []uint64{1})
		return err
	}},
	{"Batch and Samples", false, func(_ context.Context, p *Producer) error {
		b := begin(p)
		defer b.End()
		for range b.Samples(context.Background(), 8, 1) {
			break
		}
		return b.Err()
	}},
	{"Batch and Publish", false, func(_ context.Context, p *Producer) error {
		b := begin(p)
		defer b.End()
		return b.Publish()
	}},
}

func TestWaitsForABatchEnd(t *testing.T) {
	for _, h := range held {
		wait := func(ctx context.Context, p *Producer) <-chan error {
			done := make(chan error, 1)
			go func() { done <- h.call(ctx, p) }()
			asleepInGate(t, 1)
			return done
		}
		t.Run(h.name+" with the batch", func(t *testing.T) {
			testenv.NoLeaks(t)
			p := producer(t, userRing(t, 1<<16), Options{})
			b := begin(p)
			done := wait(t.Context(), p)
			b.End()
			if err := <-done; err != nil && !errors.Is(err, ErrFull) {
				t.Error(err)
			}
		})
		t.Run(h.name+" with Close", func(t *testing.T) {
			testenv.NoLeaks(t)
			p := producer(t, userRing(t, 1<<16), Options{})
			b := begin(p)
			defer b.End()
			done := wait(t.Context(), p)
			p.Close()
			if err := <-done; !errors.Is(err, os.ErrClosed) {
				t.Errorf("error %v", err)
			}
		})
		if !h.context {
			continue
		}
		t.Run(h.name+" with its context", func(t *testing.T) {
			testenv.NoLeaks(t)
			p := producer(t, userRing(t, 1<<16), Options{})
			b := begin(p)
			defer b.End()
			ctx, cancel := context.WithCancel(t.Context())
			done := wait(ctx, p)
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A Next that waits for room gives the ring to another goroutine, which may keep it.
func TestNextEndsWhileAnotherBatchHasTheRing(t *testing.T) {
	for _, end := range []struct {
		by   string
		call func(p *Producer, cancel func())
		want error
	}{
		{"its context", func(_ *Producer, cancel func()) { cancel() }, context.Canceled},
		{"Close", func(p *Producer, _ func()) { p.Close() }, os.ErrClosed},
	} {
		t.Run(end.by, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := userRing(t, testenv.PageSize)
			p, c := producer(t, m, Options{Timer: -1}), checker(t, m, 1, 64)
			fillUp(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			mine := begin(p)
			go func() {
				_, err := mine.Next(ctx, 8)
				done <- err
			}()
			testenv.Asleep(t, "userprod.(*Producer).sleep")
			other := begin(p)
			drain(t, c)
			asleepInGate(t, 1)
			end.call(p, cancel)
			if err := <-done; !errors.Is(err, end.want) {
				t.Errorf("error %v", err)
			}
			other.End()
			// The batch can continue.
			want := end.want
			if want == context.Canceled {
				want = nil
			}
			if _, err := mine.TryNext(8); !errors.Is(err, want) {
				t.Errorf("TryNext after it: %v", err)
			}
			mine.End()
		})
	}
}

// A sleeping goroutine gets the gate even if other goroutines lock it continuously.
func TestASleeperGetsTheGate(t *testing.T) {
	testenv.NoLeaks(t)
	g := newGate(nil)
	const others = 3
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range others {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if g.TryLock() {
					g.Unlock()
				}
			}
		})
	}
	for range 100 {
		if err := g.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
		g.Unlock()
	}
	close(stop)
	all.Wait()
}
