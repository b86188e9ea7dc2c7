package load

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// MaxRecord is the largest record of a refill, in bytes.
const MaxRecord = 4096

// Load is a set of loaded programs for one ring.
type Load struct {
	progs bpfPrograms
}

// New loads the programs for ring, a RINGBUF map. The caller may close ring afterwards.
func New(ring *ebpf.Map) (*Load, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("load programs: %w", err)
	}
	spec.Maps[bpfMapRing].MaxEntries = ring.MaxEntries()
	l := new(Load)
	err = spec.LoadAndAssign(&l.progs, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{bpfMapRing: ring},
	})
	if err != nil {
		return nil, fmt.Errorf("load programs: %w", err)
	}
	return l, nil
}

// Close unloads the programs.
func (l *Load) Close() error { return l.progs.Close() }

// Stamp produces a record of 16 bytes: the time of its commit (CLOCK_MONOTONIC, ns), then seq.
func (l *Load) Stamp(seq uint64) error {
	full, err := l.progs.Stamp.Run(&ebpf.RunOptions{Context: &bpfStampArg{Seq: seq}})
	if err != nil {
		return fmt.Errorf("stamp record %d: %w", seq, err)
	}
	if full != 0 {
		return fmt.Errorf("stamp record %d: ring is full", seq)
	}
	return nil
}

// RefillID returns the id of the program for [OpenRefill].
func (l *Load) RefillID() (ebpf.ProgramID, error) {
	info, err := l.progs.Refill.Info()
	if err != nil {
		return 0, fmt.Errorf("refill program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("refill program has no id")
	}
	return id, nil
}

// Refill runs the program that fills the ring. The program runs in the calling thread, so the
// records are in the cache of that CPU.
type Refill struct {
	prog *ebpf.Program
	opts ebpf.RunOptions
	arg  bpfRefillArg
}

// OpenRefill opens the program, which another process may have loaded. Records have size bytes or,
// if maxSize is larger, the lengths from size to maxSize that producer.Job.Len returns.
func OpenRefill(id ebpf.ProgramID, size, maxSize uint32) (*Refill, error) {
	prog, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return nil, fmt.Errorf("open refill program: %w", err)
	}
	r := &Refill{prog: prog, arg: bpfRefillArg{Size: size, MaxSize: maxSize}}
	r.opts.Context = &r.arg
	return r, nil
}

// Run produces the next n records. The first 8 bytes of a record are its number, counted from 0
// since OpenRefill. Run wakes no consumer.
func (r *Refill) Run(n uint64) error {
	r.arg.Seq, r.arg.End = r.arg.End, r.arg.End+n
	missing, err := r.prog.Run(&r.opts)
	if err != nil {
		return fmt.Errorf("refill: %w", err)
	}
	if missing != 0 {
		return fmt.Errorf("refill: ring is full: %d of %d records were not produced", missing, n)
	}
	return nil
}

// Close closes the program.
func (r *Refill) Close() error { return r.prog.Close() }
