package ring

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/escape"
)

// whileRead returns a context that ends with parent, and when w is a pipe or socket that
// nobody reads any more: a command that waits for something to write would learn of
// it only then. The caller calls stop.
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

// unread waits until the reader of f has gone away. It returns false when ctx ends first, or
// when f is nothing to be polled.
func unread(ctx context.Context, f *os.File) bool {
	const moment = 250 * time.Millisecond // to look at ctx
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	// POLLERR needs no asking for (fs/pipe.c, pipe_poll; net/unix/af_unix.c, unix_poll).
	var fds [1]unix.PollFd
	for ctx.Err() == nil {
		var pollErr error
		err := conn.Control(func(fd uintptr) {
			fds[0] = unix.PollFd{Fd: int32(fd)}
			_, pollErr = unix.Poll(fds[:], int(moment.Milliseconds()))
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
