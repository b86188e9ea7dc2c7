package infer

import (
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/sametype"
)

// maxNesting bounds how deep types are searched.
const maxNesting = 32

// part returns the object in t at off that the records can be, whose length is between least and most bytes; most
// is -1 if there is no bound. If the length is constant, it is the outermost object of this size.
// Otherwise it is the smallest struct that holds every record, or the outermost one if there is none. It returns nil
// if no object of t begins at off.
func part(t btf.Type, off, least, most int64) btf.Type {
	var found []btf.Type // from the outermost to the innermost
	for range maxNesting {
		if off == 0 {
			found = append(found, t)
		}
		if t, off = memberAt(t, off); t == nil {
			break
		}
	}
	var best btf.Type
	for _, t := range found {
		size, err := btf.Sizeof(t)
		switch n := int64(size); {
		case err != nil || n == 0:
		case least == most && n == most:
			return t
		case object(t) == nil:
		case best == nil, most >= 0 && n >= most:
			best = t
		}
	}
	return best
}

// memberAt returns the member or element of t that contains off, and the offset in it. It returns nil for a
// type without parts, for padding, and for a union, any of whose members can be meant.
func memberAt(t btf.Type, off int64) (btf.Type, int64) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		for _, m := range t.Members {
			size, err := btf.Sizeof(m.Type)
			at := off - int64(m.Offset/8)
			if err == nil && m.BitfieldSize == 0 && at >= 0 && at < int64(size) {
				return m.Type, at
			}
		}
	case *btf.Array:
		size, err := btf.Sizeof(t.Type)
		if err == nil && size > 0 && off >= 0 && off < int64(size)*int64(t.Nelems) {
			return t.Type, off % int64(size)
		}
	}
	return nil, 0
}

// pointee returns the struct or union that a pointer points to, or nil.
func pointee(t btf.Type) btf.Type {
	p, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return nil
	}
	return object(p.Target)
}

// object returns t without its qualifiers if it is a struct or union, otherwise nil.
func object(t btf.Type) btf.Type {
	t = sametype.Unqualified(t)
	switch btf.UnderlyingType(t).(type) {
	case *btf.Struct, *btf.Union:
		return t
	}
	return nil
}

// flexible reports whether t ends with an array of any length, so that its records can be longer.
func flexible(t btf.Type) bool {
	for range maxNesting {
		switch u := btf.UnderlyingType(t).(type) {
		case *btf.Struct:
			if len(u.Members) == 0 {
				return false
			}
			t = u.Members[len(u.Members)-1].Type
		case *btf.Array:
			return u.Nelems == 0
		default:
			return false
		}
	}
	return false
}
