package infer

import (
	"strings"

	"github.com/cilium/ebpf/btf"
)

// fits reports whether a program that stores into a t can make these stores: each is inside fields of t, and
// none covers only part of a number or pointer.
func fits(t btf.Type, stores []store) bool {
	var leaves []leaf
	budget := 4096
	if !addLeaves(&leaves, t, 0, &budget) {
		return true // t has too many fields to check
	}
	for _, s := range stores {
		inside := false
		for _, l := range leaves {
			if s.off >= l.off+l.size || s.off+s.size <= l.off {
				continue
			}
			inside = true
			if l.whole && (s.off > l.off || s.off+s.size < l.off+l.size) {
				return false
			}
		}
		if !inside {
			return false
		}
	}
	return true
}

// leaf is a field that is not divided further.
type leaf struct {
	off, size int64
	whole     bool // a number or pointer, which programs write in one store
}

func addLeaves(leaves *[]leaf, t btf.Type, off int64, budget *int) bool {
	if *budget--; *budget < 0 {
		return false
	}
	size, err := btf.Sizeof(t)
	if err != nil {
		return false
	}
	members := []btf.Member(nil)
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		// A program can write any member of a union.
		*leaves = append(*leaves, leaf{off, int64(size), false})
		return true
	case *btf.Int, *btf.Enum, *btf.Pointer, *btf.Float:
		*leaves = append(*leaves, leaf{off, int64(size), true})
		return true
	default:
		*leaves = append(*leaves, leaf{off, int64(size), false})
		return true
	}
	for _, m := range members {
		at := off + int64(m.Offset/8)
		if m.BitfieldSize > 0 {
			*leaves = append(*leaves, leaf{at, int64(m.BitfieldSize+m.Offset%8+7) / 8, false})
		} else if !addLeaves(leaves, m.Type, at, budget) {
			return false
		}
	}
	return true
}

func names(types []btf.Type) string {
	var all []string
	for _, t := range types {
		all = append(all, t.TypeName())
	}
	return strings.Join(all, ", ")
}
