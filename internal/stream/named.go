package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/internal/objects"
	"github.com/rbtool/rbtool/internal/sametype"
)

// Named is a type that was found by its name.
type Named struct {
	Type btf.Type
	In   string // where it was found
}

// String says where the type was found.
func (n Named) String() string { return fmt.Sprintf("type %s is from %s", n.Type.TypeName(), n.In) }

// find returns the type called name. Without one the error matches [decode.ErrNotFound], or [fs.ErrInvalid] if the
// DWARF cannot be read.
func (s TypeSource) find(name string) (t btf.Type, err error) {
	err = decode.ErrNotFound
	if s.spec != nil {
		t, err = decode.Find(s.spec, name)
	}
	if s.debug == nil || !errors.Is(err, decode.ErrNotFound) {
		return t, err
	}
	d, err := s.debug()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, decode.ErrNotFound // neither DWARF nor types of Go
	}
	if err != nil {
		return nil, err
	}
	keyword, bare := cutKeyword(name)
	if q := d.Qualified(bare); len(q) == 1 && len(d.Named(bare)) == 0 {
		bare = q[0]
	}
	spec, err := d.Spec(bare)
	if err != nil {
		return nil, err
	}
	return decode.Find(spec, strings.TrimSpace(keyword+" "+bare))
}

// cutKeyword splits a name such as "struct event".
func cutKeyword(name string) (keyword, bare string) {
	if keyword, bare, ok := strings.Cut(name, " "); ok {
		return keyword, bare
	}
	return "", name
}

// FindNamed returns the types with the given names, each from the source that has it. If sources have different
// types of one name, the error says which, unless nearest is set: then it takes the first one. If a type does not
// exist, the error matches [decode.ErrNotFound]. Its errors name the flag --type.
func FindNamed(names []string, sources []TypeSource, nearest bool) (found []Named, err error) {
	for _, name := range names {
		n, err := findNamed(name, sources, nearest)
		if err != nil {
			return nil, fmt.Errorf("--type: %w", err)
		}
		found = append(found, n)
	}
	return found, nil
}

func findNamed(name string, sources []TypeSource, nearest bool) (first Named, err error) {
	var unreadable error
	var others []Named
	for _, s := range sources {
		t, err := s.find(name)
		switch {
		case errors.Is(err, decode.ErrNotFound):
		case errors.Is(err, fs.ErrInvalid):
			unreadable = err
		case err != nil:
			return first, fmt.Errorf("%w in %s", err, s.name)
		case first.Type == nil:
			first = Named{t, s.name}
		case !sametype.Same(first.Type, t):
			others = append(others, Named{t, s.name})
		}
		if nearest && first.Type != nil {
			return first, nil
		}
	}
	switch {
	case first.Type == nil:
		return first, notFound(name, unreadable, sources)
	case len(others) > 0:
		return first, fmt.Errorf("find type %q: there are different types of this name: %s", name, list(append([]Named{first}, others...)))
	}
	return first, nil
}

// notFound returns the error for a type that no source has. cause is the last reason why DWARF could not be read, or
// nil.
func notFound(name string, cause error, sources []TypeSource) error {
	const most = 4
	var in, known []string
	for i, s := range sources {
		known = append(known, s.names()...)
		switch {
		case i < most || len(sources) == most+1:
			in = append(in, s.name)
		case i == most:
			in = append(in, fmt.Sprintf("%d others", len(sources)-most))
		}
	}
	_, bare := cutKeyword(name)
	err := fmt.Errorf("find type %q: %w%s in %s", name, decode.ErrNotFound, near.Hint(bare, known), strings.Join(in, ", "))
	if cause != nil {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}

// TypeNames returns the names of all types in the sources, in order, each once.
func TypeNames(sources []TypeSource) []string {
	var names []string
	for _, s := range sources {
		names = append(names, s.names()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// IsKernel reports whether s is the BTF of the kernel.
func (s TypeSource) IsKernel() bool { return s.name == "kernel" }

// names returns the names of all types.
func (s TypeSource) names() (names []string) {
	if s.spec != nil {
		names = decode.Names(s.spec)
	}
	if s.debug == nil {
		return names
	}
	if d, err := s.debug(); err == nil {
		names = append(names, d.Names()...)
	}
	return names
}

// list names types and where they are.
func list(types []Named) string {
	var text []string
	for _, n := range types {
		size, _ := btf.Sizeof(n.Type) // 0 for a type without a size
		text = append(text, fmt.Sprintf("%d bytes in %s", size, n.In))
	}
	return strings.Join(text, ", ")
}

// SourcesOf returns all that is known of the types of a map's programs, the nearest first: BTF of the programs and
// maps, objects in the executables of the map's owners, DWARF of these executables, and last the kernel. notes say
// what could not be read.
func SourcesOf(m *ebpf.Map) (sources []TypeSource, notes []string) {
	found, notes, err := infer.Sources(m)
	if err != nil {
		notes = append(notes, err.Error())
	}
	for _, s := range found {
		sources = append(sources, TypeSource{name: s.Name, spec: s.Spec})
	}
	if usage, err := inspect.Users(m); err == nil {
		sources = append(sources, debugOf(usage)...)
	}
	if kernel, err := loadSource("kernel"); err == nil {
		sources = append(sources, kernel...)
	}
	return sources, notes
}

// Bounds of the DWARF of executables, if the user has named the type.
const (
	debugTime = 5 * time.Second
	maxDebug  = 32 << 20 // bytes of a section
)

// debugOf returns the DWARF, or types of Go, in the executables of the processes that use a map.
func debugOf(usage *inspect.Usage) (sources []TypeSource) {
	var pids []int
	for _, users := range usage.Users {
		for _, u := range users {
			pids = append(pids, u.PID)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), debugTime)
	defer cancel()
	for _, d := range objects.DebugOf(ctx, objects.DebugOptions{Limit: maxDebug}, pids...) {
		sources = append(sources, TypeSource{name: d.In, debug: func() (objects.Types, error) { return d.Types, nil }})
	}
	return sources
}

// SetOf returns a Set of the types, and lines that say where each was found. Its errors name the flag --type.
func SetOf(found []Named) (set *decode.Set, origin []string, err error) {
	if set, origin, err = newSet(found); err != nil {
		return nil, nil, fmt.Errorf("--type: %w", err)
	}
	return set, origin, nil
}

func newSet(found []Named) (set *decode.Set, origin []string, err error) {
	var types []btf.Type
	for _, n := range found {
		types = append(types, n.Type)
		origin = append(origin, n.String())
	}
	set, err = decode.NewSet(types...)
	return set, origin, err
}
