package syscall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Poller waits for a descriptor to become readable, or writable, in the Go runtime's
// poller: a wait costs a goroutine, not a thread. The runtime polls edge-triggered, so
// the caller's condition must be made true by something that is followed by a
// wakeup, or be found by the timer of [Poller.Wait].
//
// One goroutine may wait at a time; Close may be called by any.
type Poller struct {
	file   *os.File
	conn   syscall.RawConn
	sleep  func(look func(fd uintptr) bool) error // conn's Read or Write
	limit  func(time.Time) error                  // sets the deadline of sleep
	watch  watch
	closed atomic.Bool
}

// NewPoller returns a Poller that waits for what fd refers to to become readable:
// EPOLLIN. It duplicates fd; the caller keeps its own. O_NONBLOCK is set on the
// open file description, which both share: on BPF maps and epoll instances it
// has no other effect.
func NewPoller(fd int) (*Poller, error) {
	p, err := duplicate(fd)
	if err != nil {
		return nil, err
	}
	p.sleep, p.limit = p.conn.Read, p.file.SetReadDeadline
	return p, nil
}

// NewWritePoller is NewPoller for a descriptor to become writable: EPOLLOUT.
func NewWritePoller(fd int) (*Poller, error) {
	p, err := duplicate(fd)
	if err != nil {
		return nil, err
	}
	p.sleep, p.limit = p.conn.Write, p.file.SetWriteDeadline
	return p, nil
}

// duplicate returns a Poller that cannot sleep yet.
func duplicate(fd int) (*Poller, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor: %w", err)
	}
	if err := unix.SetNonblock(dup, true); err != nil {
		unix.Close(dup)
		return nil, fmt.Errorf("set descriptor non-blocking: %w", err)
	}
	// A non-blocking descriptor is given to the runtime's poller. That it was
	// taken shows only in that it accepts a deadline.
	file := os.NewFile(uintptr(dup), "bpf-poll")
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		file.Close()
		return nil, fmt.Errorf("poll descriptor: %w", err)
	}
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("poll descriptor: %w", err)
	}
	return &Poller{file: file, conn: conn}, nil
}

// Do calls f with the descriptor, which stays open meanwhile.
func (p *Poller) Do(f func(fd int)) error {
	if err := p.conn.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
		return p.explain(err)
	}
	return nil
}

// Wait blocks until woken or tick returns true. It calls woken, with a
// descriptor that stays open meanwhile, at first and after each wakeup; and,
// when timer is positive, tick whenever so much time has passed. It reports
// whether tick alone was true, with no wakeup following. It ends with ctx's
// error when ctx is done and with os.ErrClosed after Close.
//
// No wakeup is lost between woken and sleep: the runtime forgets earlier
// wakeups before it calls woken (internal/poll.FD.RawRead, RawWrite), and one that comes
// later ends the sleep.
//
// woken and tick are never called at the same time, nor after Wait returned;
// tick is called on another goroutine. Until Close, or a Wait with another one, ctx
// stays watched.
func (p *Poller) Wait(ctx context.Context, timer time.Duration, woken func(fd int) bool, tick func() bool) (byTimer bool, err error) {
	p.watch.on(ctx, p.limit)
	if err := p.limit(time.Time{}); err != nil {
		return false, p.explain(err)
	}
	// The deadline for the end of ctx may just have been taken away.
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s := sleep{limit: p.limit, woken: woken, tick: tick}
	defer s.start(timer)()
	err = p.sleep(s.look)
	switch {
	case err == nil:
		return false, nil
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return false, p.explain(err)
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	return true, nil
}

// explain gives the error of a closed Poller its exported form: the one that
// internal/poll uses cannot be compared with.
func (p *Poller) explain(err error) error {
	if p.closed.Load() {
		return os.ErrClosed
	}
	return fmt.Errorf("poll: %w", err)
}

// Close ends a wait under way with os.ErrClosed and frees the descriptor. It
// is idempotent.
func (p *Poller) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	p.watch.close()
	return p.file.Close()
}
