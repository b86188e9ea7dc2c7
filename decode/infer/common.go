package infer

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/sametype"
)

// common returns the struct with which all types begin, or nil if there is none: a struct that each of them is or has
// at its start, or else one of their first members.
func common(types []btf.Type) btf.Type {
	shared := members(types[0])
	for _, t := range types[1:] {
		shared = shared[:sharedMembers(shared, members(t))]
	}
	for _, head := range heads(types[0]) {
		if len(shared) <= 1 && head != nil && allBegin(types, head) {
			return head
		}
	}
	if len(shared) == 0 {
		return nil
	}
	last := shared[len(shared)-1]
	size, err := btf.Sizeof(last.Type)
	if err != nil {
		return nil
	}
	bits := uint32(last.BitfieldSize)
	if bits == 0 {
		bits = uint32(size) * 8
	}
	return &btf.Struct{Name: strings.ReplaceAll(names(types), ", ", " or "), Size: (uint32(last.Offset) + bits + 7) / 8, Members: shared}
}

// sharedMembers returns how many of the first members of two structs are the same.
func sharedMembers(a, b []btf.Member) int {
	for i := range min(len(a), len(b)) {
		if a[i].Name != b[i].Name || a[i].Offset != b[i].Offset || a[i].BitfieldSize != b[i].BitfieldSize || !sametype.Same(a[i].Type, b[i].Type) {
			return i
		}
	}
	return min(len(a), len(b))
}

func members(t btf.Type) []btf.Member {
	if s, ok := btf.UnderlyingType(t).(*btf.Struct); ok {
		return s.Members
	}
	return nil
}

// heads returns the named structs that begin at the start of t, from t itself to the innermost.
func heads(t btf.Type) (found []btf.Type) {
	for range maxNesting {
		m := members(t)
		if len(m) == 0 {
			break
		}
		if t.TypeName() != "" {
			found = append(found, t)
		}
		t = m[0].Type
	}
	return found
}

// allBegin reports whether all types are head or begin with it.
func allBegin(types []btf.Type, head btf.Type) bool {
	for _, t := range types {
		begins := false
		for _, h := range heads(t) {
			begins = begins || sametype.Same(h, head)
		}
		if !begins {
			return false
		}
	}
	return true
}
