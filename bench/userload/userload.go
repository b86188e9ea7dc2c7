// Package userload loads the drain that the benchmarks of user rings run.
package userload

//go:generate go tool bpf2go -target bpfel -go-package userload -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../bpf/headers" bpf userload.bpf.c

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Tally is the count of samples and the sum of their first 8 bytes.
type Tally = bpfTally

// Load is the program that drains one user ring, loaded into the kernel.
type Load struct {
	objs struct {
		Drain *ebpf.Program `ebpf:"drain"`
		State *ebpf.Map     `ebpf:".bss"`
	}
	tally uint32 // offset of the tally in the map State
}

// New loads the program for ring, a USER_RINGBUF map. The caller may close ring afterwards.
func New(ring *ebpf.Map) (*Load, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("load drain: %w", err)
	}
	spec.Maps[bpfMapRing].MaxEntries = ring.MaxEntries()
	l := &Load{tally: spec.Variables[bpfVarTally].Offset}
	err = spec.LoadAndAssign(&l.objs, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{bpfMapRing: ring},
	})
	if err != nil {
		return nil, fmt.Errorf("load drain: %w", err)
	}
	return l, nil
}

// Close unloads the program.
func (l *Load) Close() error { return errors.Join(l.objs.Drain.Close(), l.objs.State.Close()) }

// ID returns the id of the program, by which other processes open it.
func (l *Load) ID() (ebpf.ProgramID, error) {
	info, err := l.objs.Drain.Info()
	if err != nil {
		return 0, fmt.Errorf("drain program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("drain program has no id")
	}
	return id, nil
}

// Take returns the tally of the samples drained since the previous Take.
func (l *Load) Take() (Tally, error) {
	var t Tally
	bss := make([]byte, l.objs.State.ValueSize())
	if err := l.objs.State.Lookup(uint32(0), bss); err != nil {
		return t, fmt.Errorf("look up tally: %w", err)
	}
	at := bss[l.tally:]
	n, err := binary.Decode(at, binary.NativeEndian, &t)
	if err != nil {
		return t, err
	}
	clear(at[:n])
	if err := l.objs.State.Put(uint32(0), bss); err != nil {
		return t, fmt.Errorf("reset tally: %w", err)
	}
	return t, nil
}
