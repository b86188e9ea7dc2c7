package producer

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// sleeper is an edge-triggered epoll instance with a ring: it reports wakeups, whether or not the
// ring has data.
type sleeper struct {
	t  *testing.T
	fd int
}

func newSleeper(t *testing.T, ring *ebpf.Map) *sleeper {
	t.Helper()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, ring.FD(), &ev); err != nil {
		t.Fatal(err)
	}
	return &sleeper{t, fd}
}

// woken reports whether the ring has woken the sleeper since the last call. If a wakeup is expected
// it waits for it, since the kernel delivers wakeups by irq_work some time after the commit.
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

func TestWakeups(t *testing.T) {
	// A record of 64 bytes takes 72 bytes of the ring.
	const step = 72
	tests := []struct {
		name string
		job  Job
		want bool
	}{
		{"adaptive wakes for the first record", Job{Count: 1}, true},
		{"no-wakeup never wakes", Job{Count: 100, Wakeup: NoWakeup}, false},
		{"force wakes behind unconsumed records", Job{Count: 100, Wakeup: NoWakeup, LastWakeup: ForceWakeup}, true},
		{"wake bytes not reached", Job{Count: 9, WakeBytes: 10*step + 1}, false},
		{"wake bytes reached", Job{Count: 12, WakeBytes: 10 * step}, true},
		{"wake bytes not reached, closed by force", Job{Count: 9, WakeBytes: 10 * step, LastWakeup: ForceWakeup}, true},
	}
	for _, op := range []Op{Reserve, Output, Dynptr} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%v/%s", op, test.name), func(t *testing.T) {
				p, ring := load(t, 1<<16)
				s := newSleeper(t, ring)
				if s.woken(false) {
					t.Fatal("woken by an empty ring")
				}
				test.job.Op, test.job.Size = op, 64
				run(t, p, test.job)
				if got := s.woken(test.want); got != test.want {
					t.Errorf("woken: %v, want %v", got, test.want)
				}
			})
		}
	}
}

// The boundary depends on the Op: a reserved record counts as available data; a record that
// bpf_ringbuf_output is about to reserve does not.
func TestWakeBytesBoundary(t *testing.T) {
	for op, first := range map[Op]uint64{Reserve: 10, Output: 11, Dynptr: 10} {
		t.Run(op.String(), func(t *testing.T) {
			p, ring := load(t, 1<<16)
			s := newSleeper(t, ring)
			job := Job{Op: op, Count: first - 1, Size: 64, WakeBytes: 720}
			run(t, p, job)
			if s.woken(false) {
				t.Errorf("woken by record %d or one before", first-1)
			}
			job.Count = 1
			run(t, p, job)
			if !s.woken(true) {
				t.Errorf("not woken by record %d", first)
			}
		})
	}
}
