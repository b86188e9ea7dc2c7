// Package tracering finds the programs of package proctrace that write to a ring. Any process,
// with any version of rbtool, can have loaded them. It reads the types of the ring's records from
// the BTF of these programs, since the kernel keeps no BTF with a ring (kernel/bpf/syscall.c,
// map_check_btf).
//
// All functions need CAP_SYS_ADMIN, to enumerate programs. Any number of goroutines can call
// them at once.
package tracering

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/rawbtf"
	"github.com/rbtool/rbtool/internal/syscall"
)

// maxBTF bounds the BTF of a tracer's program, in bytes.
const maxBTF = 8 << 20

// Name is the name of a tracer's ring. Rings of other programs often have it, too.
const Name = "events"

var (
	// ErrNotTraced reports that other programs than a tracer's write to the ring.
	ErrNotTraced = errors.New("no proctrace writes to the ring")

	// ErrStopped reports that the ring has the name of a tracer's ring, but not all programs of
	// a tracer use it any more. A tracer probably wrote its records.
	ErrStopped = errors.New("the tracer of the ring was stopped")
)

// writers maps the names of programs that write records to the names of the records' C structs.
// In old versions of rbtool, which have no handle_* programs, the proctrace_* programs write them.
var writers = map[string]string{
	"handle_exit": "exit_event", "handle_exec": "exec_event", "handle_fork": "fork_event",
	"proctrace_obey": "ack_event",
	"proctrace_exit": "exit_event", "proctrace_exec": "exec_event", "proctrace_fork": "fork_event",
}

// required are the records that the programs of every tracer write. ack_event is not among them:
// if the kernel lacks user rings, a tracer has no program that writes it.
var required = []string{"fork_event", "exec_event", "exit_event"}

// Types returns the C structs of the ring's records. It returns [ErrStopped] or
// [ErrNotTraced] if no tracer writes to the ring.
func Types(ring *ebpf.Map) ([]btf.Type, error) {
	byName := make(map[string]btf.Type) // several programs can write the same record
	err := Visit(ring, func(p *ebpf.Program, record string) (err error) {
		byName[record], err = typeOf(p, record)
		return err
	})
	if errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("find types of proctrace: %w: %w", ErrNotTraced, err) // handle_exec is a common name, too
	}
	if err != nil {
		return nil, fmt.Errorf("find types of proctrace: %w", err)
	}
	return slices.Collect(maps.Values(byName)), nil
}

// typeOf returns the C struct with the given name from the BTF of a program.
func typeOf(p *ebpf.Program, name string) (btf.Type, error) {
	handle, err := p.Handle()
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	about, err := handle.Info()
	if err != nil {
		return nil, err
	}
	raw, err := syscall.ReadBTF(about.ID, maxBTF)
	if err != nil {
		return nil, err
	}
	spec, err := rawbtf.Parse(raw) // any program can have the names of a tracer's
	if err != nil {
		return nil, err
	}
	var found *btf.Struct
	return found, spec.TypeByName(name, &found)
}

// Visit calls f with each program of a tracer that writes to the ring, and the name of the
// C struct that it writes. The program is closed after the call. Visit returns [ErrStopped]
// or [ErrNotTraced] if no tracer, or only part of one, writes to the ring.
func Visit(ring *ebpf.Map, f func(p *ebpf.Program, record string) error) error {
	info, err := ring.Info()
	if err != nil {
		return err
	}
	id, ok := info.ID()
	if !ok || ring.Type() != ebpf.RingBuf || info.Name != Name {
		return ErrNotTraced
	}
	seen := make(map[string]bool)
	foreign := false
	for programID := ebpf.ProgramID(0); ; {
		programID, err = ebpf.ProgramGetNextID(programID)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		record, uses, err := visit(programID, id, f)
		if err != nil {
			return err
		}
		seen[record] = true
		foreign = foreign || uses && record == ""
	}
	complete := !slices.ContainsFunc(required, func(record string) bool { return !seen[record] })
	switch {
	case complete:
		return nil
	case foreign:
		return ErrNotTraced
	default: // some programs may remain while a tracer stops
		return ErrStopped
	}
}

// visit reports whether a program uses the ring. If the program is a tracer's, visit calls f with
// the program and returns the C struct of its records.
func visit(id ebpf.ProgramID, ring ebpf.MapID, f func(*ebpf.Program, string) error) (record string, uses bool, err error) {
	info, err := syscall.ReadProgramInfo(id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil // the program has been unloaded
	}
	if err != nil {
		return "", false, err
	}
	if !slices.Contains(info.Maps, ring) {
		return "", false, nil
	}
	if record = writers[info.Name]; record == "" {
		return "", true, nil
	}
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer p.Close()
	return record, true, f(p, record)
}
