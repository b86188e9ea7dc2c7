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

// Poller waits until a descriptor becomes readable, or writable, in the Go runtime's
// poller: a wait blocks a goroutine, not a thread. The runtime polls edge-triggered, so a
// wakeup must follow each change that makes the caller's condition true. Otherwise only
// the timer of [Poller.Wait] finds the change.
//
// Only one goroutine at a time can wait. Any goroutine can call Close.
type Poller struct {
	file   *os.File
	conn   syscall.RawConn
	sleep  func(look func(fd uintptr) bool) error // conn's Read or Write
	limit  func(time.Time) error                  // conn's deadline for sleep
	watch  watch
	closed atomic.Bool
}

// NewPoller returns a Poller that waits until fd becomes readable (EPOLLIN). It
// duplicates fd; the caller still owns fd. It sets O_NONBLOCK on the open file
// description, which both descriptors share; on BPF maps and epoll instances this
// has no other effect.
func NewPoller(fd int) (*Poller, error) {
	p, err := duplicate(fd)
	if err != nil {
		return nil, err
	}
	p.sleep, p.limit = p.conn.Read, p.file.SetReadDeadline
	return p, nil
}

// NewWritePoller is like NewPoller, but waits until fd becomes writable (EPOLLOUT).
func NewWritePoller(fd int) (*Poller, error) {
	p, err := duplicate(fd)
	if err != nil {
		return nil, err
	}
	p.sleep, p.limit = p.conn.Write, p.file.SetWriteDeadline
	return p, nil
}

// duplicate returns a Poller of a duplicate of fd. The caller sets sleep and limit.
func duplicate(fd int) (*Poller, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor: %w", err)
	}
	if err := unix.SetNonblock(dup, true); err != nil {
		unix.Close(dup)
		return nil, fmt.Errorf("set descriptor non-blocking: %w", err)
	}
	// os.NewFile gives a non-blocking descriptor to the runtime's poller. If the poller
	// does not accept it, setting a deadline fails.
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

// Do calls f with the descriptor, which stays open during the call.
func (p *Poller) Do(f func(fd int)) error {
	if err := p.conn.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
		return p.explain(err)
	}
	return nil
}

// Wait blocks until woken or tick returns true. It calls woken first and after each
// wakeup, with a descriptor that stays open during the call. If timer is positive, it
// also calls tick at this interval. byTimer is true if tick returned true and no wakeup
// followed. Wait returns ctx's error when ctx is done, and os.ErrClosed after Close.
//
// No wakeup is lost between woken and the sleep: the runtime forgets earlier wakeups
// before it calls woken (internal/poll.FD.RawRead, RawWrite), and a later wakeup ends
// the sleep.
//
// Wait calls tick on another goroutine. It never calls woken and tick at the same time,
// and neither after it has returned. The Poller keeps watching ctx after Wait returns,
// until Close or a Wait with another context.
func (p *Poller) Wait(ctx context.Context, timer time.Duration, woken func(fd int) bool, tick func() bool) (byTimer bool, err error) {
	p.watch.on(ctx, p.limit)
	if err := p.limit(time.Time{}); err != nil {
		return false, p.explain(err)
	}
	// If ctx ended before limit cleared the deadline, the deadline that its end set is lost.
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

// explain returns os.ErrClosed if the Poller is closed, since the error that
// internal/poll returns then is not exported. Otherwise it wraps err.
func (p *Poller) explain(err error) error {
	if p.closed.Load() {
		return os.ErrClosed
	}
	return fmt.Errorf("poll: %w", err)
}

// Close makes a current and any later Wait return os.ErrClosed, and closes the
// descriptor. It is idempotent.
func (p *Poller) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	p.watch.close()
	return p.file.Close()
}
