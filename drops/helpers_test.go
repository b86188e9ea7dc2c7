package drops_test

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if testenv.Role() != "" {
		os.Exit(testenv.Play(play))
	}
	os.Exit(testenv.Main(m))
}

// testRing creates a ring, closed when the test ends.
func testRing(t *testing.T) *ebpf.Map {
	t.Helper()
	return testenv.Ring(t, testenv.PageSize)
}

func needDynptr(t *testing.T) {
	t.Helper()
	testenv.SkipIfNotSupported(t, "ringbuf-dynptr", features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnRingbufReserveDynptr))
}

// onOneCPU keeps the test's goroutine on CPU 0 until the test ends.
func onOneCPU(t *testing.T) { onCPU(t, 0) }

func onCPU(t *testing.T, cpu int) {
	t.Helper()
	restore, err := pin(cpu)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := restore(); err != nil {
			t.Error(err)
		}
	})
}

// pin keeps the calling goroutine on a CPU until it calls restore.
func pin(cpu int) (restore func() error, err error) {
	var before, only unix.CPUSet
	runtime.LockOSThread()
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return nil, err
	}
	return func() error {
		err := unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
		return err
	}, nil
}
