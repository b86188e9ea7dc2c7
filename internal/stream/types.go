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

// Types says how the records of a ring are decoded.
type Types struct {
	// Set decodes the records. It is nil if they are shown in hex.
	Set *decode.Set
	// Notes say what is uncertain, each in one line.
	Notes []string
	// Explanation says in full how the types are known, and covers Notes. It is empty if there is nothing to
	// explain.
	Explanation []string
}

func (t *Types) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// FindTypes finds the types of the records of m: those of the bundled tracer for its ring, or else what the
// programs that use m tell.
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

// infer sets t to the types that the programs tell.
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

// NamedTypes returns the types with the given names out of the BTF that from names: "kernel", "prog:ID" or a file,
// of ELF or raw BTF. Its errors name the flags --type and --btf; one for a program or a type that does not exist
// matches [fs.ErrNotExist] or [decode.ErrNotFound].
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

// NamedSet returns a Set of the types that [NamedTypes] returns.
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
