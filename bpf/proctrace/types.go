package proctrace

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

var (
	// ErrNotTraced says that a ring is not one that a tracer of this package
	// writes.
	ErrNotTraced = errors.New("no proctrace writes to the ring")

	// ErrStopped says that a ring has the name of a tracer's, and that no others' programs
	// use it, nor a tracer's any more. What is left in it was probably written in the types of
	// [Decoder].
	ErrStopped = errors.New("the tracer of the ring was stopped")
)

// Types returns the BTF of the bundled programs, in which the records are the
// structs fork_event, exec_event and exit_event.
func Types() (*btf.Spec, error) {
	spec, err := newSpec()
	if err != nil {
		return nil, fmt.Errorf("load types of proctrace: %w", err)
	}
	return spec.Types, nil
}

// Decoder returns what shows the records of a Tracer of this version of the package.
func Decoder() (*decode.Set, error) {
	spec, err := Types()
	if err != nil {
		return nil, err
	}
	var types []btf.Type
	for _, typ := range []Type{Fork, Exec, Exit, Ack} {
		t, err := decode.Find(spec, typ.String())
		if err != nil {
			return nil, err
		}
		types = append(types, t)
	}
	return decode.NewSet(types...)
}

// DecoderOf returns what shows the records of ring, whichever process and
// whichever version of this package started the tracer: the types are taken
// from the BTF of the programs that write to the ring, because the kernel keeps none
// with a ring (kernel/bpf/syscall.c, map_check_btf). Its error is [ErrStopped] or
// [ErrNotTraced] where there are none; to look for them takes CAP_SYS_ADMIN.
func DecoderOf(ring *ebpf.Map) (*decode.Set, error) {
	types, err := typesOf(ring)
	if err != nil {
		return nil, fmt.Errorf("find types of proctrace: %w", err)
	}
	return decode.NewSet(types...)
}

func typesOf(ring *ebpf.Map) ([]btf.Type, error) {
	byName := make(map[string]btf.Type, len(hooks)) // a program can have copies
	err := eachWriter(ring, func(p *ebpf.Program, typ Type) error {
		t, err := typeOf(p, typ)
		if err == nil {
			byName[t.TypeName()] = t
		}
		return err
	})
	return slices.Collect(maps.Values(byName)), err
}

// eachWriter calls visit with each program of a tracer that writes to the ring, and the type
// of its records. Its error is ErrStopped or ErrNotTraced where there are not all of them.
func eachWriter(ring *ebpf.Map, visit func(*ebpf.Program, Type) error) error {
	info, err := ring.Info()
	if err != nil {
		return err
	}
	id, ok := info.ID()
	if !ok || ring.Type() != ebpf.RingBuf || info.Name != bpfMapProctrace {
		return ErrNotTraced
	}
	seen := make(map[Type]bool)
	foreign := false
	for programID := ebpf.ProgramID(0); ; {
		programID, err = ebpf.ProgramGetNextID(programID)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		typ, uses, err := visitWriter(programID, id, visit)
		if err != nil {
			return err
		}
		if typ != 0 {
			seen[typ] = true
		}
		foreign = foreign || uses && typ == 0
	}
	switch {
	case len(seen) >= len(hooks): // Ack is only where the kernel takes commands
		return nil
	case foreign:
		return ErrNotTraced
	default: // of a tracer that is being stopped, some may still be there
		return ErrStopped
	}
}

// writers are the programs that write records, by name, and the types of these. A tracer of an
// older version has no handlers.
var writers = map[string]Type{
	bpfProgHandleExit: Exit, bpfProgHandleExec: Exec, bpfProgHandleFork: Fork, bpfProgProctraceObey: Ack,
	bpfProgProctraceExit: Exit, bpfProgProctraceExec: Exec, bpfProgProctraceFork: Fork,
}

// visitWriter reports whether a program uses the ring, and returns the type of its
// records if it is a tracer's, which is visited.
func visitWriter(id ebpf.ProgramID, ring ebpf.MapID, visit func(*ebpf.Program, Type) error) (typ Type, uses bool, err error) {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil // it ended meanwhile
	}
	if err != nil {
		return 0, false, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return 0, false, err
	}
	if used, _ := info.MapIDs(); !slices.Contains(used, ring) {
		return 0, false, nil
	}
	if typ = writers[info.Name]; typ != 0 {
		err = visit(p, typ)
	}
	return typ, true, err
}

// typeOf returns the type of the records of a program.
func typeOf(p *ebpf.Program, typ Type) (btf.Type, error) {
	handle, err := p.Handle()
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	spec, err := handle.Spec(nil)
	if err != nil {
		return nil, err
	}
	return decode.Find(spec, typ.String())
}
