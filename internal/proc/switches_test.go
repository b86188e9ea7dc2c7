package proc

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseVoluntarySwitches(t *testing.T) {
	for text, want := range map[string]uint64{
		"Name:\tsh\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t7\n": 12,
		"Name:\tsh\nnonvoluntary_ctxt_switches:\t7\n":                               0,
		"voluntary_ctxt_switches:\tx\n":                                             0,
		"":                                                                          0,
	} {
		if got, err := parseVoluntarySwitches([]byte(text)); got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestAThreadThatSleepsSwitches(t *testing.T) {
	const times = 50
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	read := func() uint64 {
		t.Helper()
		all, err := VoluntarySwitches("/proc/self")
		if err != nil {
			t.Fatal(err)
		}
		return all[unix.Gettid()]
	}
	before := read()
	for range times {
		if err := unix.Nanosleep(&unix.Timespec{Nsec: 1000}, nil); err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
	if n := read() - before; n < times/2 { // a signal of the Go runtime can end a sleep
		t.Errorf("%d switches in %d sleeps", n, times)
	}
	if _, err := VoluntarySwitches(Dir(uint32(os.Getpid()) | 1<<30)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that does not exist: %v", err)
	}
}
