// Package ringcalls counts the calls of the BPF helpers that reserve space in rings:
// bpf_ringbuf_reserve, bpf_ringbuf_reserve_dynptr and bpf_ringbuf_output (kernel/bpf/ringbuf.c). There are two engines:
//
//   - [Fexit] has programs that run when a helper returns, and see the result. The kernel can trace
//     these functions up to Linux 6.12; from 6.13 on ringbuf.o is compiled without ftrace.
//   - [Breakpoint] sets execution breakpoints on the helpers' first instructions, on every CPU, with perf events. Its program
//     computes the outcome from the ring's positions. See package drops for what makes the result exact or bounds it.
//
// Whether an engine works is decided by a trial: a program of this package calls the helpers a known number
// of times.
//
//	c, err := ringcalls.Open(ringcalls.Fexit, ringcalls.Config{})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	s, err := c.Read()
//
// Only one goroutine at a time can use a Counter. Programs, links and perf events end with the process.
package ringcalls

//go:generate go tool bpf2go -target bpfel -go-package ringcalls -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type counts -type ring -type caller -type caller_key -type second -type second_key -type total -type frame bpf ringcalls.bpf.c

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// Engine is a way to count.
type Engine int

// The engines.
const (
	Fexit Engine = iota + 1
	Breakpoint
)

// helpers are the names of the functions in the kernel, in the order of enum helper.
var helpers = [...]string{"bpf_ringbuf_reserve", "bpf_ringbuf_reserve_dynptr", "bpf_ringbuf_output"}

// Sizes of the maps.
const (
	maxSeconds  = 16384
	mostRings   = 1024 // if all rings are counted, unless the host has as many
	mostCallers = 8192
	memory      = 64 << 20 // bytes on all CPUs that one of these two maps may have before it is made smaller
)

// Config says what to count.
type Config struct {
	Rings []ebpf.MapID // empty: all rings, those created later too
	// MaxRings is the number of rings for which there is memory. It matters only if all rings are counted.
	MaxRings int
}

// ProbeError reports what an engine lacks.
type ProbeError struct {
	Probe string // what was tried
	Err   error
}

func (e *ProbeError) Error() string { return fmt.Sprintf("%s: %v", e.Probe, e.Err) }

// Unwrap returns the error of the probe.
func (e *ProbeError) Unwrap() error { return e.Err }

// probed returns a ProbeError for err of cilium/ebpf. Of an errno it leaves out the guesses at the cause.
func probed(probe string, err error) *ProbeError {
	var verifier *ebpf.VerifierError
	var errno unix.Errno
	if !errors.As(err, &verifier) && errors.As(err, &errno) {
		err = errno
	}
	return &ProbeError{probe, err}
}

// Counter counts since Open.
type Counter struct {
	objs     objects
	attached attachment
	limits   []string
	cost     time.Duration
	hits     uint64 // of the trial
	missed   uint64 // of the trial
}

// attachment is what makes the programs run.
type attachment interface {
	// calls returns the calls that the kernel has counted, whether or not the program ran, and those that
	// it is known not to have run for. Only one of the two can be known.
	calls() (hits, missed uint64, err error)
	Close() error
}

// objects are the maps and programs of an engine.
type objects struct {
	bpfMaps
	bss   *ebpf.Map // has the variable now
	progs map[string]*ebpf.Program
	alone time.Duration // of a call that is not counted
}

// Open loads the engine's programs, attaches them, tries them, and starts to count. The error is a
// [ProbeError] if the kernel cannot do it.
func Open(e Engine, cfg Config) (*Counter, error) {
	switch e {
	case Fexit:
		return openFexit(cfg)
	case Breakpoint:
		return openBreakpoint(cfg)
	}
	return nil, fmt.Errorf("count calls: no engine %d", e)
}

// Limits returns what the engine cannot see or tell on this kernel, a sentence each.
func (c *Counter) Limits() []string { return c.limits }

// Cost returns the time that a counted call takes longer, measured with own calls; 0 if it was too small to measure.
func (c *Counter) Cost() time.Duration { return c.cost }

// Close detaches and unloads the programs. It is idempotent.
func (c *Counter) Close() error {
	return errors.Join(c.attached.Close(), c.objs.Close())
}

// load loads the programs with these names, and those of the trial.
func load(cfg Config, variables map[string]any, programs ...string) (*objects, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	keep := append(trialPrograms(), programs...)
	for name := range spec.Programs {
		if !slices.Contains(keep, name) {
			delete(spec.Programs, name)
		}
	}
	size(spec, cfg)
	for name, value := range variables {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	var all uint8
	if len(cfg.Rings) == 0 {
		all = 1
	}
	if err := spec.Variables[bpfVarAllRings].Set(all); err != nil {
		return nil, err
	}
	var names uint8
	if features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnSnprintf) == nil {
		names = 1
	}
	if err := spec.Variables[bpfVarResolveNames].Set(names); err != nil {
		return nil, err
	}
	return newObjects(spec, cfg)
}

func newObjects(spec *ebpf.CollectionSpec, cfg Config) (*objects, error) {
	types := kernelbtf.Cache()
	if err := setConstants(spec); err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	o := &objects{progs: map[string]*ebpf.Program{}}
	if err := coll.Assign(&o.bpfMaps); err != nil {
		return nil, err
	}
	o.bss = coll.DetachMap(".bss")
	for name := range coll.Programs {
		o.progs[name] = coll.DetachProgram(name)
	}
	for _, id := range cfg.Rings {
		if err := o.Wanted.Put(uint32(id), uint32(1)); err != nil {
			return nil, errors.Join(fmt.Errorf("ask for ring %d: %w", id, err), o.Close())
		}
	}
	if o.alone, err = o.timeCall(); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// size gives the maps room for the rings.
func size(spec *ebpf.CollectionSpec, cfg Config) {
	n := len(cfg.Rings)
	if n == 0 {
		n = max(room(mostRings, unsafe.Sizeof(bpfCounts{})), cfg.MaxRings)
	}
	rings := uint32(n + 1) // that of the trial
	maxCallers := uint32(room(mostCallers, unsafe.Sizeof(bpfCaller{})))
	for _, name := range []string{bpfMapWanted, bpfMapRings, bpfMapCounted} {
		spec.Maps[name].MaxEntries = rings
	}
	spec.Maps[bpfMapCallers].MaxEntries = maxCallers
	spec.Maps[bpfMapNames].MaxEntries = maxCallers
	spec.Maps[bpfMapSeconds].MaxEntries = maxSeconds
}

// setConstants writes the constants into their section, and removes all variables from the collection: cilium/ebpf would map
// them until the garbage collector runs.
func setConstants(spec *ebpf.CollectionSpec) error {
	for _, v := range spec.Variables {
		if !v.Constant() {
			continue
		}
		section := spec.Maps[v.SectionName]
		data, ok := section.Contents[0].Value.([]byte)
		if !ok || int(v.Offset)+len(v.Value) > len(data) {
			return fmt.Errorf("set %s: section %s has no room for it", v.Name, v.SectionName)
		}
		copy(data[v.Offset:], v.Value)
	}
	spec.Variables = nil
	return nil
}

// room returns the number of entries of a per-CPU map whose values have this size: most, or less on many CPUs.
func room(most int, size uintptr) int {
	return min(most, max(most/4, memory/(int(size)*max(1, ebpf.MustPossibleCPU()))))
}

// set sets what to count now: all rings, or one.
func (o *objects) set(c bpfControl) error {
	if err := o.bss.Put(uint32(0), &c); err != nil {
		return fmt.Errorf("set what to count: %w", err)
	}
	return nil
}

// Close closes maps and programs. It is idempotent.
func (o *objects) Close() error {
	err := errors.Join(o.bpfMaps.Close(), o.bss.Close())
	for _, p := range o.progs {
		err = errors.Join(err, p.Close())
	}
	return err
}
