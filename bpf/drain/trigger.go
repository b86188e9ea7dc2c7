package drain

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// minEvery is the shortest interval of Start: a timer that is faster would have a CPU
// do little else.
const minEvery = 10 * time.Microsecond

// Start makes a timer in the kernel drain at once and then at intervals, each
// counted from the end of the run before. A second Start changes the interval.
// It ends with Stop or Close, or with the process, unless the Drain is pinned.
func (d *Drain) Start(every time.Duration) error {
	if every < minEvery {
		return fmt.Errorf("start drain: every %v: less than %v", every, minEvery)
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

// start starts what Stop stopped, and the timer unless every is 0.
func (d *Drain) start(every time.Duration) error {
	// The program that ends it first: what was started can be stopped.
	if _, err := d.program(bpfProgDrainStop); err != nil {
		return err
	}
	prog, err := d.program(bpfProgDrainStart)
	if err != nil {
		return err
	}
	return call(prog, &bpfDrainTimerArg{Every: uint64(every)})
}

// call runs a program that returns 0 or an errno.
func call(prog *ebpf.Program, arg any) error {
	ret, err := prog.Run(&ebpf.RunOptions{Context: arg})
	if err != nil {
		return fmt.Errorf("run program: %w", err)
	}
	if int32(ret) < 0 {
		return fmt.Errorf("run program: %w", unix.Errno(-int32(ret)))
	}
	return nil
}

// Attach drains whenever a tracepoint is hit, on the CPU and in the context
// that hits it; tracepoint is a name from the kernel's events, such as
// "sched_process_exit". One that is hit often costs its callers some 50 ns even
// when there is nothing to drain. It ends with Stop or Close, or with the process,
// unless the Drain is pinned.
func (d *Drain) Attach(tracepoint string) error {
	if err := d.use(); err != nil {
		return fmt.Errorf("attach drain: %w", err)
	}
	defer d.mu.Unlock()
	switch {
	case d.link != nil:
		return errors.New("attach drain: it is attached already")
	case d.pinned:
		return errors.New("attach drain: it is pinned already")
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

// Stop ends what Start and Attach began, of a pinned Drain too. When it has
// returned no more samples are taken, but by Run. Start begins anew.
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
		return nil // nothing was started
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
