package producer

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// RunOn is Run on one CPU, to which it binds the thread of the calling goroutine meanwhile.
// BPF_F_TEST_RUN_ON_CPU exists only for raw_tp programs, and runs them in an interrupt of the other
// CPU.
func (p *Producer) RunOn(ctx context.Context, cpu int, job Job) (res Result, err error) {
	var before, only unix.CPUSet
	only.Set(cpu)
	runtime.LockOSThread()
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return Result{Next: job.Seq}, fmt.Errorf("get affinity: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		runtime.UnlockOSThread()
		return Result{Next: job.Seq}, fmt.Errorf("bind thread to CPU %d: %w", cpu, err)
	}
	defer func() {
		if e := unix.SchedSetaffinity(0, &before); e != nil {
			// The thread stays locked, so that it ends with the goroutine and no other goroutine
			// inherits the binding.
			err = errors.Join(err, fmt.Errorf("unbind thread from CPU %d: %w", cpu, e))
			return
		}
		runtime.UnlockOSThread()
	}()
	return p.Run(ctx, job)
}
