// Package sametype compares types of different BTF, which are never identical although they can be the same.
package sametype

import (
	"slices"

	"github.com/cilium/ebpf/btf"
)

// Bounds of a comparison, since BTF of strangers can be nested without end.
const (
	maxNesting = 32
	maxParts   = 1 << 14
)

// Same reports whether two types have the same name and the same members at the same offsets. It ignores
// qualifiers and does not follow pointers. Types with too many parts to compare are not the same.
func Same(a, b btf.Type) bool {
	budget := maxParts
	return equal(a, b, maxNesting, &budget)
}

// equal is [Same] for types that are nested in depth levels at most. It uses up budget.
func equal(a, b btf.Type, depth int, budget *int) bool {
	if a == b {
		return true
	}
	if *budget--; depth == 0 || *budget < 0 {
		return false
	}
	a, b = Unqualified(a), Unqualified(b)
	if a.TypeName() != b.TypeName() {
		return false
	}
	switch x := btf.UnderlyingType(a).(type) {
	case *btf.Struct:
		y, ok := btf.UnderlyingType(b).(*btf.Struct)
		return ok && x.Size == y.Size && equalMembers(x.Members, y.Members, depth-1, budget)
	case *btf.Union:
		y, ok := btf.UnderlyingType(b).(*btf.Union)
		return ok && x.Size == y.Size && equalMembers(x.Members, y.Members, depth-1, budget)
	case *btf.Array:
		y, ok := btf.UnderlyingType(b).(*btf.Array)
		return ok && x.Nelems == y.Nelems && equal(x.Type, y.Type, depth-1, budget)
	case *btf.Int:
		y, ok := btf.UnderlyingType(b).(*btf.Int)
		return ok && x.Size == y.Size && x.Encoding == y.Encoding
	case *btf.Enum:
		y, ok := btf.UnderlyingType(b).(*btf.Enum)
		return ok && x.Size == y.Size && slices.Equal(x.Values, y.Values)
	case *btf.Pointer:
		_, ok := btf.UnderlyingType(b).(*btf.Pointer)
		return ok
	case *btf.Float:
		y, ok := btf.UnderlyingType(b).(*btf.Float)
		return ok && x.Size == y.Size
	}
	return false
}

func equalMembers(a, b []btf.Member, depth int, budget *int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Offset != b[i].Offset || a[i].BitfieldSize != b[i].BitfieldSize ||
			!equal(a[i].Type, b[i].Type, depth, budget) {
			return false
		}
	}
	return true
}

// Unqualified returns t without const, volatile and restrict.
func Unqualified(t btf.Type) btf.Type {
	for range maxNesting {
		switch q := t.(type) {
		case *btf.Const:
			t = q.Type
		case *btf.Volatile:
			t = q.Type
		case *btf.Restrict:
			t = q.Type
		default:
			return t
		}
	}
	return t
}
