package ringcalls

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// errNotSeen reports that an engine was attached without an error but does not work.
var errNotSeen = errors.New("calls of the trial were not seen")

// try is a program of the trial.
type try struct {
	program string
	helper  string
	calls   uint64
}

var tries = []try{
	{bpfProgTryReserve, helpers[0], 2},
	{bpfProgTryReserveDynptr, helpers[1], 1},
	{bpfProgTryOutput, helpers[2], 1},
}

// available returns the trials whose helper the kernel has.
func available() []try {
	return slices.DeleteFunc(slices.Clone(tries), func(t try) bool {
		return t.program == bpfProgTryReserveDynptr && !hasDynptr()
	})
}

func trialPrograms() []string {
	names := []string{bpfProgTryMany}
	for _, t := range available() {
		names = append(names, t.program)
	}
	return names
}

// rehearse runs the programs of the trial and compares what was counted with what they did. If the calls are
// attributed, it also checks the addresses of the callers. Afterwards the counter has no trace of it.
func (c *Counter) rehearse() error {
	info, err := syscall.MapInfoOf(c.objs.Trial)
	if err != nil {
		return err
	}
	id := uint32(info.ID)
	if err := c.objs.Wanted.Put(id, uint32(1)); err != nil {
		return err
	}
	if err := c.objs.set(bpfControl{Counting: 1, Only: id}); err != nil {
		return err
	}
	var want Tally
	for _, t := range available() {
		failed, err := syscall.TestRun(c.objs.progs[t.program])
		if err != nil {
			return fmt.Errorf("run %s: %w", t.program, err)
		}
		want.Calls += t.calls
		want.Failed += uint64(failed)
		if err := c.seen(t, id, want); err != nil {
			return err
		}
	}
	counted, err := c.objs.timeCall()
	if err != nil {
		return err
	}
	c.cost = max(0, counted-c.objs.alone)
	return c.forget(id)
}

// timeCall returns the time of a call that reserves, as it is when nothing disturbs it.
func (o *objects) timeCall() (time.Duration, error) {
	const (
		runs  = 20
		calls = 64 // TRIAL_CALLS
	)
	least := time.Duration(math.MaxInt64)
	for range runs {
		start := time.Now()
		if _, err := syscall.TestRun(o.progs[bpfProgTryMany]); err != nil {
			return 0, fmt.Errorf("run %s: %w", bpfProgTryMany, err)
		}
		least = min(least, time.Since(start))
	}
	return least / calls, nil
}

// seen checks what was counted after the program of t ran.
func (c *Counter) seen(t try, ring uint32, want Tally) error {
	s, err := c.read()
	if err != nil {
		return err
	}
	var got Tally
	for _, cpu := range s.CPUs[ebpf.MapID(ring)] {
		got.Calls += cpu.All.Calls
		got.Failed += cpu.All.Failed
	}
	if got.Calls != want.Calls || got.Failed != want.Failed {
		return fmt.Errorf("%w: %s: %d calls with %d failures instead of %d with %d", errNotSeen, t.helper,
			got.Calls, got.Failed, want.Calls, want.Failed)
	}
	code, err := c.code(t.program)
	if errors.Is(err, syscall.ErrAddressesHidden) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, by := range s.Callers {
		if by.Ring == ebpf.MapID(ring) && within(by.Address, code) {
			return nil
		}
	}
	c.limits = append(c.limits, fmt.Sprintf("The callers of %s are not known: the return address was not where it was looked for.", t.helper))
	return nil
}

// code returns where the machine code of a program of the trial is.
func (c *Counter) code(program string) ([]syscall.ProgramFunction, error) {
	info, err := c.objs.progs[program].Info()
	if err != nil {
		return nil, err
	}
	id, ok := info.ID()
	if !ok {
		return nil, fmt.Errorf("id of %s: %w", program, ebpf.ErrNotSupported)
	}
	return syscall.ReadProgramFunctions(id)
}

func within(address uint64, code []syscall.ProgramFunction) bool {
	return slices.ContainsFunc(code, func(f syscall.ProgramFunction) bool {
		return address > f.Address && address <= f.Address+f.Size
	})
}

// forget removes what the trial left in the maps, with its programs and its ring, and starts to count.
func (c *Counter) forget(ring uint32) error {
	if err := c.objs.set(bpfControl{}); err != nil {
		return err
	}
	s, err := c.read()
	if err != nil {
		return err
	}
	for _, by := range s.Callers {
		if err := c.ForgetCaller(by.Ring, by.Address); err != nil {
			return err
		}
	}
	for key := range s.Seconds {
		if err := c.Forget(key); err != nil {
			return err
		}
	}
	if err := c.ForgetRing(ebpf.MapID(ring)); err != nil {
		return err
	}
	c.hits = s.Hits
	for _, name := range trialPrograms() {
		if err := c.objs.progs[name].Close(); err != nil {
			return err
		}
	}
	if err := c.objs.Trial.Close(); err != nil {
		return err
	}
	return c.objs.set(bpfControl{Counting: 1})
}

func unlessAbsent(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
