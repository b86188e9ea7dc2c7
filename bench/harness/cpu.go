package harness

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// priority is the real-time priority of all processes of a run, in the middle of the range 1 to 99.
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
// that is permitted. Executing the program again binds all threads of the Go runtime, not only that
// of a goroutine, and the runtime then runs Go code on one thread at a time. Become returns only if
// it fails.
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

// onCPUs calls f on a thread that is bound to cpus and has real-time priority. Processes that f
// starts inherit both.
func onCPUs(cpus []int, f func() error) error {
	done := make(chan error)
	go func() {
		// No UnlockOSThread: the bound thread must end with the goroutine.
		runtime.LockOSThread()
		var only unix.CPUSet
		for _, cpu := range cpus {
			only.Set(cpu)
		}
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			done <- fmt.Errorf("bind thread to CPUs %d: %w", cpus, err)
			return
		}
		// If this fails for lack of privilege, the figures are noisier and RealTime reports false.
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
