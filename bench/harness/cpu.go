package harness

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// priority is in the middle of the real-time range.
const priority = 50

// CPUs returns the CPUs on which this program may run.
func CPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("get affinity: %w", err)
	}
	var cpus []int
	for cpu := range len(set) * strconv.IntSize {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// Become executes this program again, with env added, bound to a CPU and with real-time priority if
// that is permitted. Unlike binding a goroutine's thread, that applies to all threads of the Go
// runtime, which then runs Go code on one at a time. Become returns only if it fails.
func Become(cpu int, env ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return onCPUs([]int{cpu}, func() error {
		err := unix.Exec(self, os.Args, append(os.Environ(), env...))
		return fmt.Errorf("exec %s: %w", self, err)
	})
}

// onCPUs calls f on a thread that is bound to CPUs. Processes that f starts inherit that and the
// priority.
func onCPUs(cpus []int, f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		var only unix.CPUSet
		for _, cpu := range cpus {
			only.Set(cpu)
		}
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			done <- fmt.Errorf("bind thread to CPUs %d: %w", cpus, err)
			return
		}
		// Without the privilege the figures are noisier, and RealTime reports false.
		_ = setRealTime()
		done <- f()
	}()
	return <-done
}

// RealTime reports whether the program has real-time priority.
func RealTime() bool {
	attr, err := unix.SchedGetAttr(0, 0)
	return err == nil && attr.Policy == unix.SCHED_RR
}

// setRealTime sets SCHED_RR. With SCHED_FIFO a busy thread of a Go process would keep its other
// threads from handling signals.
func setRealTime() error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: priority}
	return unix.SchedSetAttr(0, &attr, 0)
}
