package arenamem

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// newArena creates an arena, closed when the test ends. It skips where the kernel has none.
func newArena(tb testing.TB, opts Options) *Arena {
	tb.Helper()
	if opts.Name == "" {
		opts.Name = "test_arena"
	}
	if opts.Size == 0 {
		opts.Size = 1 << 20
	}
	a, err := Create(opts)
	if errors.Is(err, ErrNotSupported) {
		testenv.SkipWithout(tb, "arena", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Error(err)
		}
	})
	return a
}

func dup(tb testing.TB, fd int) int {
	tb.Helper()
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return fd
}
