package harness

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// priority is that of SCHED_FIFO, in the middle of its range.
const priority = 50

// Become starts this program anew in this process, with env added, bound to a CPU
// and under SCHED_FIFO where that is permitted. Unlike binding a goroutine's
// thread, that holds for all threads of the Go runtime, which then runs Go code on
// one at a time. It returns only when that fails.
func Become(cpu int, env ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return onCPU(cpu, func() error {
		err := unix.Exec(self, os.Args, append(os.Environ(), env...))
		return fmt.Errorf("exec %s: %w", self, err)
	})
}

// onCPU calls f on a thread that is bound to a CPU. Processes that f starts
// inherit that and the priority.
func onCPU(cpu int, f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		var only unix.CPUSet
		only.Set(cpu)
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			done <- fmt.Errorf("bind thread to CPU %d: %w", cpu, err)
			return
		}
		// Without the privilege figures are noisier, as FIFO says.
		_ = setFIFO()
		done <- f()
	}()
	return <-done
}

// FIFO reports whether the program runs under SCHED_FIFO.
func FIFO() bool {
	attr, err := unix.SchedGetAttr(0, 0)
	return err == nil && attr.Policy == unix.SCHED_FIFO
}

func setFIFO() error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: priority}
	return unix.SchedSetAttr(0, &attr, 0)
}
