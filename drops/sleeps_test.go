package drops

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSleepsAreCountedFromTheFirstCall(t *testing.T) {
	const times = 50
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nap := func() {
		for range times {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 1000}, nil) // EINTR by a signal of the Go runtime
		}
	}
	s := NewSleeps(uint32(os.Getpid()))
	nap()
	if n, err := s.Count(); n != 0 || err != nil {
		t.Fatalf("the first call: %d, %v", n, err)
	}
	nap()
	if n, err := s.Count(); n < times/2 || err != nil {
		t.Errorf("%d sleeps were counted of %d: %v", n, times, err)
	}
}

func TestAProcessThatHasEndedDoesNotHideTheOthers(t *testing.T) {
	s := NewSleeps(1<<30, uint32(os.Getpid()))
	if _, err := s.Count(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if len(s.threads) == 0 {
		t.Error("no threads of this process")
	}
}
