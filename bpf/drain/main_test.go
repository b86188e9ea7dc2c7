package drain

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		fmt.Fprintln(os.Stderr, helper())
		os.Exit(1)
	}
	os.Exit(testenv.Main(m, "user_ringbuf"))
}

// userRing creates a USER_RINGBUF map, closed when the test ends.
func userRing(tb testing.TB, size uint32) *ebpf.Map {
	tb.Helper()
	return testenv.Map(tb, &ebpf.MapSpec{Name: "test_user", Type: ebpf.UserRingbuf, MaxEntries: size})
}

// newDrain loads a Drain. When the test ends it closes the Drain and checks that nothing leaked.
func newDrain(tb testing.TB, user *ebpf.Map, opts Options) *Drain {
	tb.Helper()
	d, err := Load(user, opts)
	testenv.SkipIfNotSupported(tb, "user_ringbuf-drain", err)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Errorf("close drain: %v", err)
		}
	})
	return d
}

// counter returns a user ring of size bytes, its producer, and a Drain that counts.
func counter(t *testing.T, size uint32) (*feeder, *Drain, *ebpf.Map) {
	t.Helper()
	testenv.NoLeaks(t)
	user := userRing(t, size)
	return newFeeder(t, user), newDrain(t, user, Options{}), user
}

// expect does a run, and fails the test unless the run takes n samples and returns the error want.
func expect(t *testing.T, d *Drain, opts RunOptions, n uint64, want error) Result {
	t.Helper()
	res, err := d.Run(opts)
	if res.Samples != n || !errors.Is(err, want) {
		t.Fatalf("run: %d samples, %v; want %d, %v", res.Samples, err, n, want)
	}
	return res
}

// sleeper is an edge-triggered epoll instance with a ring: it reports wakeups, whether or not the
// ring has data.
type sleeper struct {
	t  *testing.T
	fd int
}

func newSleeper(t *testing.T, ring *ebpf.Map, events uint32) *sleeper {
	t.Helper()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ev := unix.EpollEvent{Events: events | unix.EPOLLET&0xffffffff}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, ring.FD(), &ev); err != nil {
		t.Fatal(err)
	}
	s := &sleeper{t, fd}
	s.woken(false) // consumes the event that epoll reports at the start
	return s
}

// woken reports whether the ring has woken the sleeper since the last call. If a wakeup is expected
// it waits for it, since the kernel delivers wakeups by irq_work some time after the run.
func (s *sleeper) woken(expected bool) bool {
	s.t.Helper()
	timeout := 0
	if expected {
		timeout = 60_000
	}
	for {
		n, err := unix.EpollWait(s.fd, make([]unix.EpollEvent, 1), timeout)
		if err == nil {
			return n == 1
		}
		if !errors.Is(err, unix.EINTR) {
			s.t.Fatal(err)
		}
	}
}
