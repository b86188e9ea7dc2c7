package gotype

import (
	"encoding/binary"
	"math/bits"

	"github.com/cilium/ebpf/btf"
)

// Bounds of structs.
const (
	maxStructs  = 1 << 16     // descriptors
	maxFields   = 1 << 16     // of all structs
	maxMembers  = 512         // of one struct
	maxSize     = 1 << 20     // bytes
	maxNested   = 16          // types in each other
	maxNameSize = overlap - 3 // bytes
)

// Descriptors (internal/abi/type.go). Each begins with a Type:
//
//	0 Size_  8 PtrBytes  20 TFlag  21 Align_  22 FieldAlign_  23 Kind_  40 Str
//
// An ArrayType has Elem at 48 and Len at 64, and a StructType PkgPath at 48 and the slice Fields at 56. A StructField is of
// three words: Name, Typ, Offset.
const (
	typeSize   = 48
	arraySize  = 72
	structSize = 80
	fieldSize  = 24

	flagExtraStar = 1 << 1
	flagNamed     = 1 << 2
)

// Kinds of types.
const (
	kindBool   = 1
	kindInt8   = 3
	kindArray  = 17
	kindStruct = 25
)

// numbers are the types of numbers by kind. A type that the program declares, such as an enumeration, is the one below it.
var numbers = map[uint8]btf.Type{
	kindBool: &btf.Int{Name: "bool", Size: 1, Encoding: btf.Bool},
	2:        &btf.Int{Name: "int", Size: 8, Encoding: btf.Signed},
	kindInt8: &btf.Int{Name: "int8", Size: 1, Encoding: btf.Signed},
	4:        &btf.Int{Name: "int16", Size: 2, Encoding: btf.Signed},
	5:        &btf.Int{Name: "int32", Size: 4, Encoding: btf.Signed},
	6:        &btf.Int{Name: "int64", Size: 8, Encoding: btf.Signed},
	7:        &btf.Int{Name: "uint", Size: 8},
	8:        &btf.Int{Name: "uint8", Size: 1},
	9:        &btf.Int{Name: "uint16", Size: 2},
	10:       &btf.Int{Name: "uint32", Size: 4},
	11:       &btf.Int{Name: "uint64", Size: 8},
	12:       &btf.Int{Name: "uintptr", Size: 8},
	13:       &btf.Float{Name: "float32", Size: 4},
	14:       &btf.Float{Name: "float64", Size: 8},
}

// char is the type of the elements of an array of int8: bpf2go writes char so.
var (
	char      = &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	indexType = &btf.Int{Name: "__ARRAY_SIZE_TYPE__", Size: 4}
)

// reader converts descriptors.
type reader struct {
	*view
	base     uint64 // that offsets of names start from
	known    map[uint64]*known
	left     int  // of maxFields
	misnamed bool // a named struct has no name: base is wrong
}

// known is a type that has been converted.
type known struct {
	head
	typ btf.Type // nil if it has parts that are no numbers, or is not sound
}

// head is the part that all descriptors begin with.
type head struct {
	size  uint64
	align uint64
	flags uint8
	kind  uint8
	name  uint32
}

// headOf returns the head of the descriptor b, and whether it can be that of a type without pointers.
func headOf(b []byte) (h head, ok bool) {
	h = head{size: word(b, 0), flags: b[20], align: uint64(b[21]), kind: b[23], name: binary.LittleEndian.Uint32(b[40:])}
	return h, h.size <= maxSize && word(b, 8) == 0 && bits.OnesCount64(h.align) == 1 && h.align <= 8 && b[22] == b[21] && h.size%h.align == 0
}

// structs returns the named structs of numbers.
func (r *reader) structs() (all []*btf.Struct) {
	var found []uint64
	r.each(structSize, func(addr uint64, b []byte) bool {
		if b[23] != kindStruct || b[20]&flagNamed == 0 {
			return true
		}
		h, ok := headOf(b)
		if n := word(b, 64); ok && h.size > 0 && n == word(b, 72) && n > 0 && n <= maxMembers && r.holds(word(b, 56), n*fieldSize) {
			found = append(found, addr)
		}
		return len(found) < maxStructs
	})
	for _, addr := range found {
		if k := r.convert(addr, maxNested); k.typ != nil {
			all = append(all, k.typ.(*btf.Struct))
		}
	}
	return all
}
