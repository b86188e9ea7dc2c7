// Package rawbtf reads BTF of strangers: of executables, captures and programs in the kernel. cilium/ebpf, which parses it, follows
// types that refer to each other by recursion: a chain of some 100000 types, which the kernel accepts, ends the process.
package rawbtf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// Bounds of BTF. A kernel has about 10 MiB and 150 000 types, a BPF object less than 1 MiB and 5000 types.
const (
	maxBTF     = 64 << 20 // bytes
	maxTypes   = 1 << 18
	maxNesting = 1 << 12 // types in one chain, each of which takes 2 KiB of stack
)

// ErrFormat is the error for malformed or unusually large BTF.
var ErrFormat = fmt.Errorf("%w: malformed or unusually large BTF", fs.ErrInvalid)

// Parse parses raw BTF of an untrusted source. It refuses BTF that would take a parser much more
// memory than its size: names that overlap or are repeated too often, and types that refer to each other
// in too long a chain, since cilium/ebpf follows them by recursion and copies names.
func Parse(raw []byte) (*btf.Spec, error) {
	o, err := Read(raw)
	if err != nil {
		return nil, err
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil || o.types() <= maxNesting {
		return spec, err
	}
	// In order of their ids, the chains are those that have been measured. In another order they can be
	// longer.
	if o.nesting() > maxNesting {
		return nil, fmt.Errorf("%w: types nested too deeply", ErrFormat)
	}
	for id := range o.types() {
		if _, err := spec.TypeByID(btf.TypeID(id)); err != nil {
			return nil, err
		}
	}
	return spec, nil
}

// Starts reports whether b starts with the magic number of BTF, in either byte order.
func Starts(b []byte) bool {
	return len(b) >= 2 && (binary.LittleEndian.Uint16(b) == btfMagic || binary.BigEndian.Uint16(b) == btfMagic)
}

// btfMagic is BTF_MAGIC.
const btfMagic = 0xeb9f

// Outline is what a pass over raw BTF finds, without parsing it into types.
type Outline struct {
	order   binary.ByteOrder
	raw     []byte // the section of types
	strings []byte
	at      []uint32 // offset in raw of each type; [0] is void
	names   int      // sum of the lengths of all names, each time that one is used
}

// Kinds of BTF types (include/uapi/linux/btf.h, BTF_KIND_*).
const (
	kindInt = iota + 1
	kindPtr
	kindArray
	kindStruct
	kindUnion
	kindEnum
	kindFwd
	kindTypedef
	kindVolatile
	kindConst
	kindRestrict
	kindFunc
	kindFuncProto
	kindVar
	kindDatasec
	kindFloat
	kindDeclTag
	kindTypeTag
	kindEnum64
)

// shapes says for each kind how many bytes follow struct btf_type, in total and for each of its vlen
// entries, and where in an entry the name and the type are (-1: it has none).
var shapes = [...]struct{ fixed, entry, name, typ int }{
	kindInt: {4, 0, -1, -1}, kindPtr: {0, 0, -1, -1}, kindArray: {12, 0, -1, -1},
	kindStruct: {0, 12, 0, 4}, kindUnion: {0, 12, 0, 4}, kindEnum: {0, 8, 0, -1}, kindFwd: {0, 0, -1, -1},
	kindTypedef: {0, 0, -1, -1}, kindVolatile: {0, 0, -1, -1}, kindConst: {0, 0, -1, -1}, kindRestrict: {0, 0, -1, -1},
	kindFunc: {0, 0, -1, -1}, kindFuncProto: {0, 8, 0, 4}, kindVar: {4, 0, -1, -1}, kindDatasec: {0, 12, -1, 0},
	kindFloat: {0, 0, -1, -1}, kindDeclTag: {4, 0, -1, -1}, kindTypeTag: {0, 0, -1, -1}, kindEnum64: {0, 12, 0, -1},
}

// Read walks over raw BTF and checks the bounds. The result refers to raw.
func Read(raw []byte) (*Outline, error) {
	const header = 24 // struct btf_header
	if len(raw) < header || len(raw) > maxBTF {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, len(raw))
	}
	o := &Outline{order: binary.LittleEndian, at: []uint32{0}}
	if raw[0] == 0xeb {
		o.order = binary.BigEndian
	}
	if !Starts(raw) || raw[2] != 1 {
		return nil, fmt.Errorf("%w: no BTF of version 1", ErrFormat)
	}
	start := o.order.Uint32(raw[4:])
	part := func(at int) ([]byte, bool) {
		off, size := uint64(start)+uint64(o.order.Uint32(raw[at:])), uint64(o.order.Uint32(raw[at+4:]))
		if start < header || off+size > uint64(len(raw)) {
			return nil, false
		}
		return raw[off : off+size], true
	}
	var inTypes, inStrings bool
	o.raw, inTypes = part(8)
	o.strings, inStrings = part(16)
	if !inTypes || !inStrings {
		return nil, fmt.Errorf("%w: sections outside the data", ErrFormat)
	}
	return o, o.walk()
}

// walk finds where each type starts, and checks the kinds, the names and the number of types.
func (o *Outline) walk() error {
	for at := 0; at < len(o.raw); {
		if len(o.raw)-at < 12 || o.types() > maxTypes {
			return fmt.Errorf("%w: truncated, or more than %d types", ErrFormat, maxTypes)
		}
		kind, vlen := o.kind(uint32(at))
		if kind == 0 || kind >= len(shapes) {
			return fmt.Errorf("%w: unknown kind %d", ErrFormat, kind)
		}
		s := shapes[kind]
		end := at + 12 + s.fixed + s.entry*vlen
		if end > len(o.raw) {
			return fmt.Errorf("%w: truncated", ErrFormat)
		}
		o.names += len(o.name(o.order.Uint32(o.raw[at:])))
		for e := at + 12 + s.fixed; s.name >= 0 && e < end; e += s.entry {
			o.names += len(o.name(o.order.Uint32(o.raw[e+s.name:])))
		}
		if o.names > 8*len(o.raw)+1<<20 {
			return fmt.Errorf("%w: names of %d bytes", ErrFormat, o.names)
		}
		o.at = append(o.at, uint32(at))
		at = end
	}
	return nil
}

// types returns the number of types, void included.
func (o *Outline) types() int { return len(o.at) }

// kind returns the kind and vlen of the type at an offset of raw (struct btf_type: info).
func (o *Outline) kind(at uint32) (kind, vlen int) {
	info := o.order.Uint32(o.raw[at+4:])
	return int(info >> 24 & 0x1f), int(info & 0xffff)
}

// name returns the string at an offset in the table of strings.
func (o *Outline) name(off uint32) []byte {
	if uint64(off) >= uint64(len(o.strings)) {
		return nil
	}
	name := o.strings[off:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return name
}

// refers calls each for the types that a type refers to, in the order in which cilium/ebpf follows them
// (btf/unmarshal.go, inflateType).
func (o *Outline) refers(id uint32, each func(to uint32)) {
	at := o.at[id]
	kind, vlen := o.kind(at)
	word := func(off uint32) uint32 { return o.order.Uint32(o.raw[at+off:]) }
	s := shapes[kind]
	for i := 0; s.typ >= 0 && i < vlen; i++ {
		each(word(12 + uint32(s.fixed+s.entry*i+s.typ)))
	}
	switch kind {
	case kindArray:
		each(word(16)) // struct btf_array: index_type
		each(word(12))
	case kindPtr, kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunc, kindFuncProto, kindVar, kindDeclTag, kindTypeTag:
		each(word(8))
	}
}

// nesting returns the length of the longest chain of types that is followed if the types are parsed in the
// order of their ids, each with all types that it refers to.
func (o *Outline) nesting() (longest int) {
	type frame struct{ id, next uint32 }
	seen := make([]bool, o.types())
	var to []uint32 // types that those in the chain still have to follow; each frame has its part
	for id := uint32(1); int(id) < o.types(); id++ {
		chain := []frame{}
		enter := func(id uint32) {
			if id == 0 || int(id) >= len(seen) || seen[id] {
				return
			}
			seen[id] = true
			chain = append(chain, frame{id, uint32(len(to))})
			start := len(to)
			o.refers(id, func(next uint32) { to = append(to, next) })
			slices.Reverse(to[start:]) // the first is to be the next that is popped
			longest = max(longest, len(chain))
		}
		for enter(id); len(chain) > 0; {
			top := &chain[len(chain)-1]
			if uint32(len(to)) == top.next {
				chain = chain[:len(chain)-1]
				continue
			}
			next := to[len(to)-1]
			to = to[:len(to)-1]
			enter(next)
		}
	}
	return longest
}

// Limits of the functions and maps of an object that are known.
const (
	maxNamed = 4096
	maxName  = 512 // bytes
)

// Named returns the names of the functions, and of the variables in the section .maps.
func (o *Outline) Named() (functions, maps []string) {
	add := func(to []string, at uint32) []string {
		name := o.name(o.order.Uint32(o.raw[at:]))
		if len(to) == maxNamed || len(name) == 0 || len(name) > maxName {
			return to
		}
		return append(to, string(name))
	}
	for id := 1; id < o.types(); id++ {
		at := o.at[id]
		switch kind, vlen := o.kind(at); {
		case kind == kindFunc:
			functions = add(functions, at)
		case kind == kindDatasec && string(o.name(o.order.Uint32(o.raw[at:]))) == ".maps":
			for i := range uint32(vlen) {
				if v := o.order.Uint32(o.raw[at+12+12*i:]); v > 0 && int(v) < o.types() {
					maps = add(maps, o.at[v])
				}
			}
		}
	}
	return functions, maps
}

// Strings returns the table of strings: each ends with a zero.
func (o *Outline) Strings() []byte { return o.strings }
