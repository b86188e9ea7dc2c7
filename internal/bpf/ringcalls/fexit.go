package ringcalls

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"

	"github.com/rbtool/rbtool/internal/syscall"
)

// hasDynptr reports whether the kernel has bpf_ringbuf_reserve_dynptr (Linux 5.19).
func hasDynptr() bool {
	return features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnRingbufReserveDynptr) == nil
}

// links are the programs of the engine, attached.
type links struct {
	links    []link.Link
	counting []*ebpf.Program // those that run when a helper returns
}

// calls returns the runs that the kernel left out because the program was running on that CPU already
// (kernel/bpf/trampoline.c, __bpf_prog_enter_recur). Before Linux 5.12 it leaves none out.
func (l *links) calls() (hits, missed uint64, err error) {
	for _, p := range l.counting {
		s, err := p.Stats()
		if err != nil {
			return 0, 0, fmt.Errorf("read missed runs: %w", err)
		}
		missed += s.RecursionMisses
	}
	return 0, missed, nil
}

func (l *links) Close() error {
	var errs []error
	for _, l := range l.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func openFexit(cfg Config) (*Counter, error) {
	offset, limits, err := returnOffset()
	if err != nil {
		return nil, err
	}
	c, err := attachFexit(cfg, map[string]any{bpfVarReturnOffset: offset})
	if err != nil {
		return nil, err
	}
	c.limits = append(limits, c.limits...)
	if err := c.rehearse(); err != nil {
		return nil, errors.Join(&ProbeError{"count own calls with fexit", err}, c.Close())
	}
	_, c.missed, err = c.attached.calls()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// tracing are the programs that run at a helper's entry and when it returns.
var tracing = [len(helpers)]struct{ called, returned string }{
	{bpfProgReserveCalled, bpfProgReserveReturned},
	{bpfProgReserveDynptrCalled, bpfProgReserveDynptrReturned},
	{bpfProgOutputCalled, bpfProgOutputReturned},
}

func attachFexit(cfg Config, variables map[string]any) (*Counter, error) {
	var programs []string
	for _, p := range tracing {
		if p.returned != bpfProgReserveDynptrReturned || hasDynptr() {
			programs = append(programs, p.called, p.returned)
		}
	}
	objs, err := load(cfg, variables, programs...)
	if err != nil {
		return nil, probed("load fexit programs for "+helpers[0], err)
	}
	attached := &links{}
	c := &Counter{objs: *objs, attached: attached}
	for i, p := range tracing {
		for _, name := range []string{p.called, p.returned} {
			program := objs.progs[name]
			if program == nil {
				continue // the kernel lacks the helper
			}
			l, err := link.AttachTracing(link.TracingOptions{Program: program})
			if err != nil {
				return nil, errors.Join(probed("attach fexit to "+helpers[i], err), c.Close())
			}
			attached.links = append(attached.links, l)
			if name == p.returned {
				attached.counting = append(attached.counting, program)
			}
		}
	}
	return c, nil
}

// returnOffset finds out where the return address of a traced function is, from its program's context: the
// arguments in the trampoline's frame (arch/x86/net/bpf_jit_comp.c, __arch_prepare_bpf_trampoline). It has a program call a
// helper, and looks for the address in that program's code. The offset is 0 if that cannot be known.
func returnOffset() (offset uint32, limits []string, err error) {
	c, err := attachFexit(Config{}, map[string]any{bpfVarDumpFrames: uint8(1)})
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	code, err := c.code(bpfProgTryReserve)
	if errors.Is(err, syscall.ErrAddressesHidden) {
		return 0, []string{"The callers are not known: " + err.Error() + "."}, nil
	}
	if err != nil {
		return 0, nil, err
	}
	info, err := syscall.MapInfoOf(c.objs.Trial)
	if err != nil {
		return 0, nil, err
	}
	if err := c.objs.set(bpfControl{Counting: 1, Only: uint32(info.ID)}); err != nil {
		return 0, nil, err
	}
	if _, err := syscall.TestRun(c.objs.progs[bpfProgTryReserve]); err != nil {
		return 0, nil, fmt.Errorf("run %s: %w", bpfProgTryReserve, err)
	}
	var f bpfFrame
	if err := c.objs.Frames.Lookup(uint32(0), &f); err != nil {
		return 0, nil, err
	}
	i := slices.IndexFunc(f.Words[:], func(w uint64) bool { return within(w, code) })
	if i < 0 {
		return 0, []string{"The callers are not known: the kernel's trampoline does not show the return address."}, nil
	}
	return uint32(8 * i), nil, nil
}
