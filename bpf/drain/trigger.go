package drain

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// minEvery is the shortest interval that Start accepts: a faster timer would keep a CPU busy.
const minEvery = 10 * time.Microsecond

// Start starts a timer in the kernel that drains at once, and then each time the interval has
// passed since the end of the last run. The interval must be at least 10 µs. A second Start changes
// the interval. The timer runs until Stop, or until Close or the end of the process unless the
// Drain is pinned.
func (d *Drain) Start(every time.Duration) error {
	if every < minEvery {
		return fmt.Errorf("start drain: interval of %v is less than %v", every, minEvery)
	}
	if err := d.use(); err != nil {
		return fmt.Errorf("start drain: %w", err)
	}
	defer d.mu.Unlock()
	if err := d.start(every); err != nil {
		return fmt.Errorf("start drain: %w", err)
	}
	return nil
}

// start permits runs by timer and tracepoint, and starts the timer if every is not 0.
func (d *Drain) start(every time.Duration) error {
	// The program that stops is loaded first, so that a started timer can always be stopped.
	if _, err := d.program(bpfProgDrainStop); err != nil {
		return err
	}
	prog, err := d.program(bpfProgDrainStart)
	if err != nil {
		return err
	}
	return call(prog, &bpfDrainTimerArg{Every: uint64(every)})
}

// call runs a program that returns 0 or a negative errno.
func call(prog *ebpf.Program, arg any) error {
	ret, err := prog.Run(&ebpf.RunOptions{Context: arg})
	if err != nil {
		return fmt.Errorf("run program: %w", err)
	}
	if int32(ret) < 0 {
		return fmt.Errorf("program returned: %w", unix.Errno(-int32(ret)))
	}
	return nil
}

// Attach makes each hit of a tracepoint start a run, in the context of the hit. tracepoint is the
// name of a kernel event, such as "sched_process_exit". A hit costs about 50 ns even if there is
// nothing to drain. The tracepoint stays attached until Stop, or until Close or the end of the
// process unless the Drain is pinned. A Drain can be attached to one tracepoint at a time, and only
// before it is pinned.
func (d *Drain) Attach(tracepoint string) error {
	if err := d.use(); err != nil {
		return fmt.Errorf("attach drain: %w", err)
	}
	defer d.mu.Unlock()
	switch {
	case d.link != nil:
		return errors.New("attach drain: already attached")
	case d.pinned:
		return errors.New("attach drain: already pinned")
	}
	if err := d.attach(tracepoint); err != nil {
		return fmt.Errorf("attach drain to %s: %w", tracepoint, err)
	}
	return nil
}

func (d *Drain) attach(tracepoint string) error {
	prog, err := d.program(bpfProgDrainEvent)
	if err != nil {
		return err
	}
	if err := d.start(0); err != nil {
		return err
	}
	d.link, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: tracepoint, Program: prog})
	return err
}

// Stop stops the timer and runs by the tracepoint, also of a pinned Drain. After it returns, only
// Run takes samples, until Start or Attach is called again. Start also permits runs by the
// tracepoint of a pinned Drain again, which stays attached.
func (d *Drain) Stop() error {
	if err := d.use(); err != nil {
		return fmt.Errorf("stop drain: %w", err)
	}
	defer d.mu.Unlock()
	if err := d.stop(); err != nil {
		return fmt.Errorf("stop drain: %w", err)
	}
	return nil
}

func (d *Drain) stop() error {
	stop := d.programs[bpfProgDrainStop]
	if stop == nil {
		return nil // Start and Attach were never called
	}
	if err := call(stop, nil); err != nil {
		return err
	}
	if d.link == nil || d.pinned {
		return nil
	}
	err := d.link.Close()
	d.link = nil
	return err
}
