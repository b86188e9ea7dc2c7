package syscall_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// event is a descriptor that a test makes readable.
type event int

func newEvent(tb testing.TB) event {
	tb.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	return event(fd)
}

// signal causes an edge. The descriptor stays readable afterwards.
func (e event) signal(tb testing.TB) {
	tb.Helper()
	if _, err := unix.Write(int(e), []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		tb.Error(err)
	}
}

func newPoller(tb testing.TB, e event) *syscall.Poller {
	tb.Helper()
	p, err := syscall.NewPoller(int(e))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

type result struct {
	byTimer bool
	err     error
}

// wait calls Wait on another goroutine and returns when Wait sleeps.
func wait(tb testing.TB, p *syscall.Poller, ctx context.Context, timer time.Duration, woken func(int) bool, tick func() bool) <-chan result {
	tb.Helper()
	done := make(chan result, 1)
	go func() {
		byTimer, err := p.Wait(ctx, timer, woken, tick)
		done <- result{byTimer, err}
	}()
	testenv.Asleep(tb, "syscall.(*Poller).Wait")
	return done
}

func never(int) bool { return false }
func tickless() bool { panic("tick without a timer") }
func no() bool       { return false }

func TestWaitAsksFirst(t *testing.T) {
	testenv.NoLeaks(t)
	e := newEvent(t)
	p := newPoller(t, e)
	calls := 0
	byTimer, err := p.Wait(t.Context(), -1, func(fd int) bool {
		calls++
		if fd == int(e) {
			t.Error("the descriptor is the caller's own")
		}
		return true
	}, tickless)
	if byTimer || err != nil || calls != 1 {
		t.Errorf("Wait() = %t, %v after %d calls", byTimer, err, calls)
	}
}

func TestWaitIsWoken(t *testing.T) {
	testenv.NoLeaks(t)
	e := newEvent(t)
	p := newPoller(t, e)
	var ready atomic.Bool
	asked := make(chan struct{}, 10)
	done := wait(t, p, t.Context(), -1, func(int) bool { asked <- struct{}{}; return ready.Load() }, tickless)
	<-asked
	e.signal(t)
	<-asked // Wait has called woken after a wakeup, and the condition was false
	ready.Store(true)
	e.signal(t) // the descriptor was readable all the time: only the edge can wake
	if got := <-done; got != (result{}) {
		t.Errorf("Wait() = %v", got)
	}
}

// A full pipe becomes writable when it is read, which ends a wait for writing.
func TestWaitToWrite(t *testing.T) {
	testenv.NoLeaks(t)
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	p, err := syscall.NewWritePoller(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	full := func() bool {
		_, err := unix.Write(fds[1], make([]byte, 4096))
		return err == unix.EAGAIN
	}
	for !full() {
	}
	done := wait(t, p, t.Context(), -1, func(int) bool { return !full() }, tickless)
	if _, err := unix.Read(fds[0], make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != (result{}) {
		t.Errorf("Wait() = %v", got)
	}
	for !full() {
	}
	ctx, cancel := context.WithCancel(t.Context())
	done = wait(t, p, ctx, time.Millisecond, never, no)
	cancel()
	if got := <-done; got.err != context.Canceled {
		t.Errorf("Wait() = %v after the end of its context", got)
	}
	done = wait(t, p, t.Context(), -1, never, tickless)
	p.Close()
	if got := <-done; !errors.Is(got.err, os.ErrClosed) {
		t.Errorf("Wait() = %v after Close", got)
	}
}

func TestWhatEndsAWait(t *testing.T) {
	cause := errors.New("cause")
	tests := []struct {
		rule string
		end  func(p *syscall.Poller, cancel context.CancelCauseFunc)
		want error
	}{
		{"the end of the context", func(_ *syscall.Poller, cancel context.CancelCauseFunc) { cancel(cause) }, context.Canceled},
		{"Close", func(p *syscall.Poller, _ context.CancelCauseFunc) { p.Close() }, os.ErrClosed},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			p := newPoller(t, newEvent(t))
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := wait(t, p, ctx, -1, never, tickless)
			tt.end(p, cancel)
			if got := <-done; got.byTimer || !errors.Is(got.err, tt.want) {
				t.Errorf("Wait() = %t, %v", got.byTimer, got.err)
			}
		})
	}
	t.Run("a context that had ended", func(t *testing.T) {
		testenv.NoLeaks(t)
		p := newPoller(t, newEvent(t))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Wait(ctx, -1, never, tickless); err != context.Canceled {
			t.Errorf("Wait() = %v", err)
		}
	})
	t.Run("a deadline", func(t *testing.T) {
		testenv.NoLeaks(t)
		p := newPoller(t, newEvent(t))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if _, err := p.Wait(ctx, time.Millisecond, never, no); err != context.DeadlineExceeded {
			t.Errorf("Wait() = %v", err)
		}
	})
}

// If a wait ends because its context ended, that does not end the next wait.
func TestEndedContextDoesNotEndTheNextWait(t *testing.T) {
	testenv.NoLeaks(t)
	e := newEvent(t)
	p := newPoller(t, e)
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan result, 1)
		go func() {
			_, err := p.Wait(ctx, -1, never, tickless)
			first <- result{err: err}
		}()
		cancel() // before, while or after the Wait goes to sleep
		if got := <-first; got.err != context.Canceled {
			t.Fatalf("first Wait() = %v", got.err)
		}
		calls := 0
		byTimer, err := p.Wait(t.Context(), -1, func(int) bool {
			if calls++; calls == 1 {
				e.signal(t)
			}
			return calls == 2
		}, tickless)
		if byTimer || err != nil {
			t.Fatalf("second Wait() = %t, %v", byTimer, err)
		}
	}
}

func TestTimer(t *testing.T) {
	const often = time.Millisecond
	t.Run("it is asked again and again, and can end the wait", func(t *testing.T) {
		testenv.NoLeaks(t)
		p := newPoller(t, newEvent(t))
		ticks := 0
		byTimer, err := p.Wait(t.Context(), often, never, func() bool { ticks++; return ticks == 3 })
		if !byTimer || err != nil || ticks != 3 {
			t.Errorf("Wait() = %t, %v after %d ticks", byTimer, err, ticks)
		}
	})
	t.Run("a wakeup on its way when it fires was no wait for the timer", func(t *testing.T) {
		testenv.NoLeaks(t)
		e := newEvent(t)
		p := newPoller(t, e)
		var ready atomic.Bool
		byTimer, err := p.Wait(t.Context(), often, func(int) bool { return ready.Load() }, func() bool {
			ready.Store(true)
			e.signal(t)
			return true
		})
		if byTimer || err != nil {
			t.Errorf("Wait() = %t, %v", byTimer, err)
		}
	})
	t.Run("it does not hide the end of the context", func(t *testing.T) {
		testenv.NoLeaks(t)
		p := newPoller(t, newEvent(t))
		ctx, cancel := context.WithCancel(t.Context())
		byTimer, err := p.Wait(ctx, often, never, func() bool { cancel(); return true })
		if byTimer || err != context.Canceled {
			t.Errorf("Wait() = %t, %v", byTimer, err)
		}
	})
	t.Run("it does not hide Close", func(t *testing.T) {
		testenv.NoLeaks(t)
		p := newPoller(t, newEvent(t))
		var closing sync.WaitGroup // on a slow machine, tick is called again before Close returns
		_, err := p.Wait(t.Context(), often, never, func() bool {
			closing.Go(func() { p.Close() })
			return false
		})
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("Wait() = %v", err)
		}
		closing.Wait()
	})
}

// Wait never calls woken and tick at the same time or after it has returned. The race detector
// would report it, because both write calls.
func TestCallsComeOneAtATime(t *testing.T) {
	testenv.NoLeaks(t)
	e := newEvent(t)
	p := newPoller(t, e)
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	calls := 0
	stop := make(chan struct{})
	signals := make(chan struct{})
	go func() {
		defer close(signals)
		for {
			select {
			case <-stop:
				return
			default:
				e.signal(t)
			}
		}
	}()
	for range rounds {
		until := calls + 3
		_, err := p.Wait(t.Context(), time.Nanosecond,
			func(int) bool { calls++; return calls >= until },
			func() bool { calls++; return calls >= until })
		if err != nil {
			t.Fatal(err)
		}
		calls++
	}
	close(stop)
	<-signals
}

func TestAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	p := newPoller(t, newEvent(t))
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	if _, err := p.Wait(t.Context(), -1, never, tickless); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait() = %v", err)
	}
	if err := p.Do(func(int) { t.Error("called") }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Do() = %v", err)
	}
}

func TestWhatCannotBePolled(t *testing.T) {
	testenv.NoLeaks(t)
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := syscall.NewPoller(int(file.Fd())); err == nil {
		t.Error("a regular file can be polled")
	}
	if _, err := syscall.NewPoller(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v", err)
	}
}
