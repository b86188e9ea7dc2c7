package producer

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// RunOn is [Producer.Run] on one CPU, to which it binds the thread of the calling goroutine until
// it returns. It does not use BPF_F_TEST_RUN_ON_CPU, which exists only for raw_tp programs and runs
// them in an interrupt.
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
			// The thread stays locked and ends with the goroutine, so that no other goroutine runs
			// on the bound thread.
			err = errors.Join(err, fmt.Errorf("unbind thread from CPU %d: %w", cpu, e))
			return
		}
		runtime.UnlockOSThread()
	}()
	return p.Run(ctx, job)
}
