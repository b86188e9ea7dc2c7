package drops_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/testenv"
)

// within checks that the truth is within a ring's bounds.
func within(t *testing.T, report *drops.Report, r *drops.Ring, truth reservers.Result) {
	t.Helper()
	t.Logf("%d calls, %d failed, between %d and %d, %d bytes; missed %d; truth %+v", r.Calls, r.Failed, r.FailedLow, r.FailedHigh,
		r.FailedBytes, report.Missed, truth)
	if missed := truth.Calls - r.Calls; missed != 0 && missed != report.Missed {
		t.Errorf("%d calls; want %d, %d of them missed", r.Calls, truth.Calls, report.Missed)
	}
	if truth.Failed < r.FailedLow || truth.Failed > r.FailedHigh || r.Failed < r.FailedLow || r.Failed > r.FailedHigh {
		t.Errorf("%d failed, between %d and %d; want %d", r.Failed, r.FailedLow, r.FailedHigh, truth.Failed)
	}
	if report.Missed == 0 && r.FailedBytes != truth.FailedBytes {
		t.Errorf("%d bytes refused; want %d", r.FailedBytes, truth.FailedBytes)
	}
	if report.Unattributed != 0 {
		t.Errorf("%d unattributed", report.Unattributed)
	}
}

// while consumes the ring until work returns.
func while(t *testing.T, ring *ebpf.Map, work func()) {
	t.Helper()
	reader, err := consumer.NewReader(ring, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			drain(t, reader)
		}
	})
	work()
	done.Store(true)
	wg.Wait()
}

func TestTwoCPUs(t *testing.T) {
	for _, who := range []struct {
		name     string
		reserver reservers.Reserver
	}{{"records of one size", reservers.Reserve}, {"records of many sizes", reservers.Output}} {
		t.Run(who.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e drops.Engine) {
				s := load(t, reservers.Config{Steps: burst, MaxSize: 400}, who.reserver)
				c := count(t, drops.Options{Engine: e})
				while(t, s.Ring, func() {
					var wg sync.WaitGroup
					for range 2 {
						wg.Go(func() {
							for n := uint64(0); n < calls()/2; n += burst {
								if err := s.Run(who.reserver); err != nil {
									t.Error(err)
								}
							}
						})
					}
					wg.Wait()
				})
				report, r := read(t, c, s.Ring)
				truth, err := s.Total()
				if err != nil {
					t.Fatal(err)
				}
				within(t, report, &r, truth)
				if who.reserver == reservers.Reserve && r.FailedLow != r.FailedHigh {
					t.Errorf("between %d and %d failures of records of one size", r.FailedLow, r.FailedHigh)
				}
			})
		})
	}
}

// The engines are tried while a program calls the helpers at each system call.
func TestOtherCallsDuringTheTrial(t *testing.T) {
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		s := load(t, reservers.Config{Steps: 1}, reservers.Softirq)
		l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: s.Program(reservers.Softirq)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := s.Enable(true); err != nil {
			t.Fatal(err)
		}
		c := count(t, drops.Options{Engine: e})
		for _, limit := range c.Engine().Limits {
			if strings.Contains(limit, "callers") {
				t.Error(limit)
			}
		}
		report, r := read(t, c, s.Ring)
		if r.Calls == 0 || report.Missed > r.Calls {
			t.Errorf("%d calls, %d missed", r.Calls, report.Missed)
		}
	})
}

// attach attaches a reserver of a hook, or skips the test.
func attach(t *testing.T, s *reservers.Set, who reservers.Reserver) {
	t.Helper()
	var l link.Link
	var err error
	switch who {
	case reservers.Kprobe:
		if l, err = link.Kprobe("find_task_by_vpid", s.Program(who), nil); err != nil {
			testenv.SkipWithout(t, "kprobe", err)
		}
	case reservers.Tracepoint:
		if l, err = link.Tracepoint("syscalls", "sys_enter_getpgid", s.Program(who), nil); errors.Is(err, fs.ErrNotExist) {
			testenv.SkipWithout(t, "tracefs", err)
		}
	case reservers.Softirq:
		l, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "softirq_entry", Program: s.Program(who)})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// onPerfEvents runs the program of a set in the interrupts of CPU 0's clock.
func onPerfEvents(t *testing.T, s *reservers.Set) {
	t.Helper()
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample: 200_000, // ns
	}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, s.Program(reservers.PerfEvent).FD()); err != nil {
		t.Fatal(err)
	}
}

// startTimer starts a bpf_timer that reserves, or skips the test.
func startTimer(t *testing.T, s *reservers.Set) {
	t.Helper()
	if ret, err := s.Program(reservers.Timer).Run(&ebpf.RunOptions{Data: make([]byte, 14)}); err != nil || ret != 0 {
		t.Fatalf("start timer: returned %d: %v", ret, err)
	}
}

// In each context calls interrupt those of another program on the same ring and CPU.
func TestCallsOfInterruptsAndHooks(t *testing.T) {
	hooks := []struct {
		name     string
		function string
		who      reservers.Reserver
	}{
		{"kprobe", "on_kprobe", reservers.Kprobe}, {"perf event", "on_perf_event", reservers.PerfEvent},
		{"softirq", "on_softirq", reservers.Softirq}, {"timer", "on_timer", reservers.Timer},
		{"tracepoint", "on_tracepoint", reservers.Tracepoint},
	}
	if testing.Short() {
		hooks = hooks[:3]
	}
	for _, hook := range hooks {
		t.Run(hook.name, func(t *testing.T) {
			if hook.who == reservers.Timer {
				testenv.SkipIfNotSupported(t, "bpf-timer", features.HaveProgramHelper(ebpf.XDP, asm.FnTimerInit))
			}
			eachEngine(t, func(t *testing.T, e drops.Engine) {
				if hook.who == reservers.Kprobe && e == drops.Breakpoint && runtime.GOARCH == "arm64" {
					return // a limit that the engine says: breakpoints are off there
				}
				s := load(t, reservers.Config{Steps: burst, MaxSize: 400}, reservers.Output, hook.who)
				c := count(t, drops.Options{Engine: e})
				onOneCPU(t)
				if err := s.Enable(true); err != nil {
					t.Fatal(err)
				}
				switch hook.who {
				case reservers.PerfEvent:
					onPerfEvents(t, s)
				case reservers.Timer:
					startTimer(t, s)
				default:
					attach(t, s, hook.who)
				}
				while(t, s.Ring, func() { interrupted(t, s) })
				if err := s.Enable(false); err != nil {
					t.Fatal(err)
				}
				report, r := read(t, c, s.Ring)
				truth, err := s.Total()
				if err != nil {
					t.Fatal(err)
				}
				within(t, report, &r, truth)
				own, err := s.Result(hook.who)
				if err != nil {
					t.Fatal(err)
				}
				if by := callerOf(t, &r, hook.function); own.Calls == 0 || by.Calls+report.Missed < own.Calls || by.Calls > own.Calls {
					t.Errorf("%d calls of %s; want %d", by.Calls, hook.function, own.Calls)
				}
			})
		})
	}
}

// interrupted runs reservers with system calls in between.
func interrupted(t *testing.T, s *reservers.Set) {
	for n := uint64(0); n < calls()/2; n += burst {
		if err := s.Run(reservers.Output); err != nil {
			t.Error(err)
		}
		for range 10 {
			if _, err := unix.Getpgid(os.Getpid()); err != nil {
				t.Error(err)
			}
		}
	}
}
