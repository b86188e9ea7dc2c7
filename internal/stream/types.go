package stream

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/bpf/tracering"
)

// Types is how the records of a ring are decoded.
type Types struct {
	// Set decodes the records. If it is nil, they are shown in hex.
	Set *decode.Set
	// Notes name what is uncertain about the types, one line each.
	Notes []string
	// Explanation tells in full how the types were found, including what Notes say. It is empty if there
	// is nothing to explain.
	Explanation []string
}

func (t *Types) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// FindTypes finds the types of the records of m. For a ring of the bundled tracer they are known; for
// others they are inferred from the programs that use m.
func FindTypes(m *ebpf.Map) (t Types, err error) {
	t.Set, err = tracerTypes(m)
	switch {
	case err == nil:
		t.Explanation = []string{"the ring is rbtool's own: records are " + t.Set.String()}
	case errors.Is(err, tracering.ErrStopped):
		t.note("the tracer was stopped: its records are decoded with the types of this rbtool (--no-decode shows them in hex)")
		t.Set, err = bundledTypes()
		return t, err
	case errors.Is(err, tracering.ErrNotTraced):
		t.infer(m)
	default:
		t.note("records are shown in hex: %v", err)
	}
	return t, nil
}

// infer sets t to the types inferred from the programs that use m.
func (t *Types) infer(m *ebpf.Map) {
	found, err := infer.Of(m)
	if err != nil {
		t.note("records are shown in hex: %v", err)
		return
	}
	t.Set, t.Explanation = found.Set, found.Explain()
	switch {
	case found.Set == nil:
		t.note("records are shown in hex: %s", found.Why)
	case found.Certainty < infer.Certain || found.Partial:
		t.note("records are shown as %s", found.Why)
	}
}

// NamedTypes returns the types with the given names from BTF. from is "kernel", "prog:ID", or the path
// of an ELF file or of raw BTF. Its errors name the flag --type or --btf. If the program does not exist,
// the error matches [fs.ErrNotExist]; if a type does not, [decode.ErrNotFound].
func NamedTypes(names []string, from string) ([]btf.Type, error) {
	spec, err := loadBTF(from)
	if err != nil {
		return nil, err
	}
	var types []btf.Type
	for _, name := range names {
		t, err := decode.Find(spec, name)
		if err != nil {
			return nil, fmt.Errorf("--type: %w in %s", err, from)
		}
		types = append(types, t)
	}
	return types, nil
}

// NamedSet returns a Set of the types that [NamedTypes] returns for these arguments.
func NamedSet(names []string, from string) (*decode.Set, error) {
	types, err := NamedTypes(names, from)
	if err != nil {
		return nil, err
	}
	set, err := decode.NewSet(types...)
	if err != nil {
		return nil, fmt.Errorf("--type: %w", err)
	}
	return set, nil
}
