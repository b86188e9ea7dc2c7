package gotype

import (
	"go/token"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// convert returns the type whose descriptor is at an address. Its typ is nil if there is none, or one that BTF does not have.
func (r *reader) convert(addr uint64, depth int) *known {
	if k := r.known[addr]; k != nil {
		return k
	}
	b := r.at(addr, typeSize)
	if b == nil || depth == 0 {
		return &known{}
	}
	h, ok := headOf(b)
	if !ok {
		return &known{}
	}
	k := &known{head: h}
	r.known[addr] = k // without typ while it is converted
	switch h.kind {
	case kindArray:
		k.typ = r.array(addr, h, depth)
	case kindStruct:
		k.typ = r.structAt(addr, h, depth)
	default:
		if n, ok := numbers[h.kind]; ok {
			if size, err := btf.Sizeof(n); err == nil && uint64(size) == h.size && h.align == h.size {
				k.typ = n
			}
		}
	}
	return k
}

// array converts an array; nil if that is not possible.
func (r *reader) array(addr uint64, h head, depth int) btf.Type {
	b := r.at(addr, arraySize)
	if b == nil {
		return nil
	}
	elem, n := word(b, 48), word(b, 64)
	of := r.convert(elem, depth-1)
	if of.typ == nil || n > maxSize || of.size*n != h.size || of.align != h.align {
		return nil
	}
	t := of.typ
	if of.kind == kindInt8 {
		t = char
	}
	return &btf.Array{Index: indexType, Type: t, Nelems: uint32(n)}
}

// structAt converts a struct; nil if that is not possible, or if its fields do not lie where Go places them.
func (r *reader) structAt(addr uint64, h head, depth int) btf.Type {
	b := r.at(addr, structSize)
	if b == nil {
		return nil
	}
	fields, n := word(b, 56), word(b, 64)
	if r.left -= int(min(n, maxMembers)) + 1; r.left < 0 || n > maxMembers || n != word(b, 72) {
		return nil
	}
	t := &btf.Struct{Size: uint32(h.size)}
	if h.flags&flagNamed != 0 {
		name, ok := r.typeName(h)
		if !ok {
			return nil
		}
		t.Name = name
	}
	end, align, empty := uint64(0), uint64(1), false
	for i := range n {
		m, of, ok := r.field(fields+i*fieldSize, depth)
		if !ok || uint64(m.Offset) != (end+of.align-1)&^(of.align-1) {
			return nil
		}
		end, align, empty = uint64(m.Offset)+of.size, max(align, of.align), of.size == 0
		if m.Offset *= 8; !empty {
			t.Members = append(t.Members, m)
		}
	}
	if empty && end > 0 {
		end++ // so that the address of the last field is inside the struct
	}
	if align != h.align || (end+align-1)&^(align-1) != h.size {
		return nil
	}
	return t
}

// field converts a field. The member's offset is in bytes.
func (r *reader) field(addr uint64, depth int) (m btf.Member, of *known, ok bool) {
	b := r.at(addr, fieldSize)
	if b == nil {
		return m, nil, false
	}
	nameAt, typeAt, offset := word(b, 0), word(b, 8), word(b, 16)
	of = r.convert(typeAt, depth-1)
	if of.typ == nil || offset > maxSize {
		return m, nil, false
	}
	name, exported, _ := r.name(nameAt)
	if !token.IsIdentifier(name) || exported != token.IsExported(name) {
		return m, nil, false
	}
	return btf.Member{Name: name, Type: of.typ, Offset: btf.Bits(offset)}, of, true
}

// typeName returns the name of a named type, if it is not too long. If it is no name of a type, r is misnamed.
func (r *reader) typeName(h head) (string, bool) {
	name, _, long := r.name(r.base + uint64(h.name))
	if long {
		return "", false
	}
	unstarred, starred := strings.CutPrefix(name, "*")
	pkg, own, _ := strings.Cut(unstarred, ".")
	wrong := starred != (h.flags&flagExtraStar != 0) || pkg == "" || !token.IsIdentifier("_"+pkg) ||
		own == "" || strings.ContainsFunc(own, func(c rune) bool { return !unicode.IsPrint(c) })
	r.misnamed = r.misnamed || wrong
	return unstarred, !wrong
}

// name returns the name at an address, "" if there is none, and whether it is too long: a byte of flags, the length, and the text
// (internal/abi/type.go, Name).
func (r *reader) name(addr uint64) (name string, exported, long bool) {
	b := r.at(addr, 3)
	if b == nil || b[0] >= 1<<4 {
		return "", false, false
	}
	exported = b[0]&1 != 0
	n, skip := uint64(b[1]), uint64(2)
	if n >= 0x80 {
		n, skip = n&0x7f|uint64(b[2])<<7, 3
	}
	if n > maxNameSize {
		return "", false, true
	}
	if b = r.at(addr+skip, n); b == nil || !utf8.Valid(b) {
		return "", false, false
	}
	return string(b), exported, false
}
