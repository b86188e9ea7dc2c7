// Package reservers has programs of many kinds that reserve space in rings and count their own failures, for tests of
// what counts them from outside.
//
//	s, err := reservers.Load(reservers.Config{Steps: 100, MaxSize: 200}, reservers.Output)
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	err = s.Run(reservers.Output)
//	truth, err := s.Result(reservers.Output)
package reservers

//go:generate go tool bpf2go -target bpfel -go-package reservers -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" bpf reservers.bpf.c

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Reserver is a program that reserves.
type Reserver int

// The reservers: enum reserver.
const (
	Reserve Reserver = iota // calls in function reserve_once, records of 40 bytes
	Output
	Dynptr
	TailCall
	InnerRing
	Kprobe
	Tracepoint
	PerfEvent
	Softirq
	Timer
	Invalid
	XDP
	TC
	reserverCount
)

// programs are the names of the programs: the one to run or attach comes first.
var programs = map[Reserver][]string{
	Reserve: {bpfProgReserveMany}, Output: {bpfProgOutputMany}, Dynptr: {bpfProgDynptrMany},
	TailCall: {bpfProgCallsTail, bpfProgTail}, InnerRing: {bpfProgInnerMany}, Kprobe: {bpfProgOnKprobe},
	Tracepoint: {bpfProgOnTracepoint}, PerfEvent: {bpfProgOnPerfEvent}, Softirq: {bpfProgOnSoftirq}, Timer: {bpfProgStartTimer},
	Invalid: {bpfProgInvalidCalls}, XDP: {bpfProgOnXdp}, TC: {bpfProgOnTc},
}

// Config says how the programs reserve.
type Config struct {
	Steps   uint32    // calls of one run
	MaxSize uint32    // of records of variable size, in bytes, exclusive; at most 4096
	Ring    *ebpf.Map // nil: a ring of 64 KiB
}

// Result is what a reserver counted.
type Result struct {
	Calls, Failed, FailedBytes, Invalid uint64
}

// Set has loaded programs with their rings.
type Set struct {
	Ring, Inner *ebpf.Map
	Outer       *ebpf.Map // an array of maps; index 0 is Inner at first
	coll        *ebpf.Collection
}

// Load loads some of the programs.
func Load(cfg Config, which ...Reserver) (*Set, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for _, r := range which {
		for _, name := range programs[r] {
			keep[name] = true
		}
	}
	for name := range spec.Programs {
		if !keep[name] {
			delete(spec.Programs, name)
		}
	}
	if !keep[bpfProgStartTimer] {
		delete(spec.Maps, bpfMapTimers) // old kernels have no timers
	}
	for name, value := range map[string]any{bpfVarSteps: cfg.Steps, bpfVarMaxSize: cfg.MaxSize, bpfVarTgid: uint32(os.Getpid())} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	opts := ebpf.CollectionOptions{}
	if cfg.Ring != nil {
		spec.Maps[bpfMapRing].Flags, spec.Maps[bpfMapRing].MaxEntries = cfg.Ring.Flags(), cfg.Ring.MaxEntries()
		opts.MapReplacements = map[string]*ebpf.Map{bpfMapRing: cfg.Ring}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return nil, fmt.Errorf("load reservers: %w", err)
	}
	s := &Set{Ring: coll.Maps[bpfMapRing], Inner: coll.Maps[bpfMapInner], Outer: coll.Maps[bpfMapOuter], coll: coll}
	if tail := coll.Programs[bpfProgTail]; tail != nil {
		if err := coll.Maps[bpfMapTails].Put(uint32(0), tail); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare tail call: %w", err), s.Close())
		}
	}
	return s, nil
}

// Program returns the program to attach.
func (s *Set) Program(r Reserver) *ebpf.Program { return s.coll.Programs[programs[r][0]] }

// Run runs a reserver that is a raw_tp program.
func (s *Set) Run(r Reserver) error {
	if ret, err := syscall.TestRun(s.Program(r)); err != nil || ret != 0 {
		return fmt.Errorf("run %s: returned %d: %w", programs[r][0], ret, err)
	}
	return nil
}

// UseInner makes a ring that of InnerRing. It takes milliseconds: the kernel waits for its programs.
func (s *Set) UseInner(ring *ebpf.Map) error { return s.PutInner(0, ring) }

// PutInner makes a ring the one of index i, below 512, in Outer. It takes as long as UseInner.
func (s *Set) PutInner(i uint32, ring *ebpf.Map) error { return s.Outer.Put(i, ring) }

// Choose makes the ring of index i that of InnerRing.
func (s *Set) Choose(i uint32) error { return s.coll.Variables[bpfVarWhich].Set(i) }

// Enable lets attached programs and timers reserve, or not.
func (s *Set) Enable(on bool) error {
	var v uint32
	if on {
		v = 1
	}
	return s.coll.Variables[bpfVarOn].Set(v)
}

// Result returns what a reserver has counted since Load.
func (s *Set) Result(r Reserver) (Result, error) {
	var all [reserverCount]bpfResult
	if err := s.coll.Variables[bpfVarResults].Get(&all); err != nil {
		return Result{}, fmt.Errorf("read results: %w", err)
	}
	n := all[r]
	return Result{n.Calls, n.Failed + n.Invalid, n.FailedBytes, n.Invalid}, nil
}

// Total returns the sum of all results.
func (s *Set) Total() (sum Result, err error) {
	for r := range reserverCount {
		n, err := s.Result(r)
		if err != nil {
			return sum, err
		}
		sum.Calls += n.Calls
		sum.Failed += n.Failed
		sum.FailedBytes += n.FailedBytes
		sum.Invalid += n.Invalid
	}
	return sum, nil
}

// Close unloads the programs and closes the rings.
func (s *Set) Close() error {
	s.coll.Close()
	return nil
}
