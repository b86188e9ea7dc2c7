package infer

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// errTime reports that an answer took too long.
var errTime = errors.New("not read: it takes too long")

// effort bounds the time of an answer, so that hostile programs and BTF cannot stop it. It is over after some
// time in which the process has also run for as long: an answer on a busy machine is the same as on another. The
// zero value is never over.
type effort struct {
	most    time.Duration // 0 if there is no bound
	started time.Time
	used    time.Duration // by the process, when it started
}

func startEffort(most time.Duration) effort { return effort{most, time.Now(), processTime()} }

// over reports that there is no time left.
func (e effort) over() bool {
	return e.most != 0 && time.Since(e.started) > e.most && processTime()-e.used > e.most
}

// processTime returns how long all threads of this process have run.
func processTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
