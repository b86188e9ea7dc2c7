package syscall_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

// counted is a context that counts the functions that wait for its end.
type counted struct {
	context.Context
	begun, watching int
}

// Value returns nil to hide that the context is one of package context, for which
// context.AfterFunc would not call the AfterFunc method.
func (c *counted) Value(any) any { return nil }

// AfterFunc is called by context.AfterFunc.
func (c *counted) AfterFunc(f func()) func() bool {
	stop := context.AfterFunc(c.Context, f)
	c.begun++
	c.watching++
	return func() bool {
		c.watching--
		return stop()
	}
}

func TestWatchGoesOnBetweenWaits(t *testing.T) {
	testenv.NoLeaks(t)
	p := newPoller(t, newEvent(t))
	newCounted := func() *counted {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		return &counted{Context: ctx}
	}
	first, second := newCounted(), newCounted()
	check := func(when string, ctx context.Context, begun, watching, others int) {
		t.Helper()
		_, err := p.Wait(ctx, -1, func(int) bool { return true }, tickless)
		if err != nil && !errors.Is(err, os.ErrClosed) {
			t.Fatal(err)
		}
		if first.begun != begun || first.watching != watching || second.watching != others {
			t.Errorf("%s: begun %d, watching %d and %d: want %d, %d and %d",
				when, first.begun, first.watching, second.watching, begun, watching, others)
		}
	}
	check("the first wait", first, 1, 1, 0)
	check("another with the same context", first, 1, 1, 0)
	type key struct{}
	check("one with a context that ends with it", context.WithValue(first, key{}, 1), 1, 1, 0)
	check("one with a context of its own", second, 1, 0, 1)
	check("the first again", first, 2, 1, 0)
	check("one that has no end", context.Background(), 2, 0, 0)
	check("the first once more", first, 3, 1, 0)
	p.Close()
	check("after Close", first, 3, 0, 0)
}

// If a context ends between two waits, only waits with that context end.
func TestContextThatEndsBetweenWaits(t *testing.T) {
	testenv.NoLeaks(t)
	e := newEvent(t)
	p := newPoller(t, e)
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := p.Wait(ctx, -1, func(int) bool { return true }, tickless); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := p.Wait(ctx, -1, func(int) bool { return true }, tickless); err != context.Canceled {
			t.Fatalf("Wait() of the context that ended = %v", err)
		}
		calls := 0
		byTimer, err := p.Wait(t.Context(), -1, func(int) bool {
			if calls++; calls == 1 {
				e.signal(t)
			}
			return calls == 2
		}, tickless)
		if byTimer || err != nil {
			t.Fatalf("Wait() of another = %t, %v", byTimer, err)
		}
	}
}
