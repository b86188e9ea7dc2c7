package ring

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/escape"
)

// whileRead returns a context that is cancelled with parent, or when the reader of w (a pipe or socket)
// closes it. Without it, a command that waits for a record would notice the closed pipe only at its next
// write. The caller calls stop.
func whileRead(parent context.Context, w io.Writer) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = context.WithCancel(parent)
	if f, ok := escape.Unwrap(w).(*os.File); ok {
		go func() {
			if unread(ctx, f) {
				stop()
			}
		}()
	}
	return ctx, stop
}

// unread waits until the reader of f closes it. It returns false if ctx is done first, or if f does not
// support poll.
func unread(ctx context.Context, f *os.File) bool {
	const interval = 250 * time.Millisecond // how often ctx is checked
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	// With no events requested, poll(2) still reports POLLERR (fs/pipe.c, pipe_poll; net/unix/af_unix.c,
	// unix_poll).
	var fds [1]unix.PollFd
	for ctx.Err() == nil {
		var pollErr error
		err := conn.Control(func(fd uintptr) {
			fds[0] = unix.PollFd{Fd: int32(fd)}
			_, pollErr = unix.Poll(fds[:], int(interval.Milliseconds()))
		})
		switch {
		case pollErr == unix.EINTR:
		case err != nil || pollErr != nil || fds[0].Revents&unix.POLLNVAL != 0:
			return false
		case fds[0].Revents != 0:
			return true
		}
	}
	return false
}
