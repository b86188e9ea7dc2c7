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

// ErrNotTraced says that a ring is not one that a tracer of this package
// writes.
var ErrNotTraced = errors.New("no proctrace writes to the ring")

// Types returns the BTF of the bundled programs, in which the records are the
// structs fork_event, exec_event and exit_event.
func Types() (*btf.Spec, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("load types of proctrace: %w", err)
	}
	return spec.Types, nil
}

// Decoder returns what shows the records of a Tracer that this process loaded.
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
// from the BTF of the programs that write to the ring. Its error is
// [ErrNotTraced] where there are none; to look for them takes CAP_SYS_ADMIN.
func DecoderOf(ring *ebpf.Map) (*decode.Set, error) {
	types, err := typesOf(ring)
	if err != nil {
		return nil, fmt.Errorf("find types of proctrace: %w", err)
	}
	return decode.NewSet(types...)
}

func typesOf(ring *ebpf.Map) ([]btf.Type, error) {
	info, err := ring.Info()
	if err != nil {
		return nil, err
	}
	id, ok := info.ID()
	if !ok || ring.Type() != ebpf.RingBuf || info.Name != bpfMapProctrace {
		return nil, ErrNotTraced
	}
	byName := make(map[string]btf.Type, len(hooks)) // a program can have copies
	for programID := ebpf.ProgramID(0); ; {
		programID, err = ebpf.ProgramGetNextID(programID)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		t, err := typeOf(programID, id)
		if err != nil {
			return nil, err
		}
		if t != nil {
			byName[t.TypeName()] = t
		}
	}
	if len(byName) < len(hooks) { // Ack is only where the kernel takes commands
		return nil, ErrNotTraced
	}
	return slices.Collect(maps.Values(byName)), nil
}

// typeOf returns the type of the record that a program writes to the ring, or
// nil if it does not.
func typeOf(id ebpf.ProgramID, ring ebpf.MapID) (btf.Type, error) {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it ended meanwhile
	}
	if err != nil {
		return nil, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(writers, func(h hook) bool { return h.name == info.Name })
	used, _ := info.MapIDs()
	if i < 0 || !slices.Contains(used, ring) {
		return nil, nil
	}
	handle, err := p.Handle()
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	spec, err := handle.Spec(nil)
	if err != nil {
		return nil, err
	}
	return decode.Find(spec, writers[i].typ.String())
}
