package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/internal/sentinel"
)

// ErrNotFound reports that BTF has no type of the given name. It matches fs.ErrNotExist.
var ErrNotFound = sentinel.New(sentinel.NotFound, "not found")

// Find returns the type called name: a struct, union, enum, typedef, integer or float. A
// C keyword before the name restricts the kind ("exec_event", "struct exec_event"). If
// there is no such type, the error matches [ErrNotFound] and lists similar names. If there
// are several, the error lists them. Any number of goroutines can use the same spec.
func Find(spec *btf.Spec, name string) (btf.Type, error) {
	keyword, bare, ok := strings.Cut(name, " ")
	if !ok {
		keyword, bare = "", name
	}
	found, err := spec.AnyTypesByName(bare)
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("find type %q: %w", name, err)
	}
	found = slices.DeleteFunc(found, func(t btf.Type) bool {
		k := keywordOf(t)
		return k == "" || keyword != "" && k != keyword
	})
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("find type %q: %w%s", name, ErrNotFound, similar(spec, bare))
	case 1:
		return found[0], nil
	}
	var kinds []string
	for _, t := range found {
		size, _ := btf.Sizeof(t) // 0 for a type without a size
		kinds = append(kinds, fmt.Sprintf("%s %s of %d bytes", keywordOf(t), bare, size))
	}
	return nil, fmt.Errorf("find type %q: there are %d such types: %s", name, len(found), strings.Join(kinds, ", "))
}

// keywordOf returns the C keyword of t, or "" if t cannot be the type of a record.
func keywordOf(t btf.Type) string {
	switch t.(type) {
	case *btf.Struct:
		return "struct"
	case *btf.Union:
		return "union"
	case *btf.Enum:
		return "enum"
	case *btf.Typedef:
		return "typedef"
	case *btf.Int:
		return "int"
	case *btf.Float:
		return "float"
	}
	return ""
}

// similar lists the names nearest to name.
func similar(spec *btf.Spec, name string) string { return near.Hint(name, Names(spec)) }

// Names returns the names that [Find] finds in spec, in the order of the BTF.
func Names(spec *btf.Spec) (names []string) {
	for t, err := range spec.All() {
		if err != nil {
			break // BTF is broken here: list the names found so far
		}
		if keywordOf(t) != "" && t.TypeName() != "" {
			names = append(names, t.TypeName())
		}
	}
	return names
}
