package decode

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/rbtool/rbtool/internal/escape"
)

// op is an operation: append the literal json or text, then the value at off according to kind.
type op struct {
	json, text string
	kind       kind
	size       uint8 // bytes to load
	width      uint8 // bits of an integer
	shift      uint8 // bit at which a bitfield starts in its first byte
	column     bool  // text can pad the value
	meaning    Meaning
	off        int
	least      int    // bytes of the shortest record or element that has a part of the value to show
	field      *field // that the value belongs to; nil for the record or element itself
	enum       *enum  // for kindEnum
	array      *array // for kindArray and kindString
}

type kind uint8

const (
	kindLiteral kind = iota // no value
	kindUint
	kindInt
	kindUint128
	kindInt128
	kindBool
	kindFloat
	kindHex
	kindPointer
	kindEnum
	kindString
	kindArray
	kindRest       // the bytes after a header
	kindBytes      // size bytes; only in text
	kindUintString // in JSON, in quotes
	kindIntString
)

// field is a member of the field up, or if up is nil of the record or element.
type field struct {
	name string
	up   *field
}

// path returns the names of the enclosing fields and of f, outermost first.
func (f *field) path() []string {
	if f == nil {
		return nil
	}
	return append(f.up.path(), f.name)
}

type array struct {
	elem   []op // operations that decode one element; their offsets count from its start
	text   []op // the same for text
	stride int  // bytes from one element to the next
	n      int  // maximum number of elements
	rest   bool // the record can end within the array
	length *op  // of a char array, loads how many bytes of it are used; nil if the record does not say that
}

type enum struct {
	signed bool
	flags  []flag                // the enumerators of one bit, if values can combine them
	names  map[uint64]enumerator // by key, see enum.key
	values map[string]uint64     // keys by name
}

// add adds an enumerator. If a name or a value is repeated, the first enumerator counts.
func (e *enum) add(name string, key uint64) {
	if _, ok := e.names[key]; !ok {
		e.names[key] = enumerator{
			json: string(escape.AppendJSONString(nil, []byte(name))),
			text: string(appendTextString(nil, []byte(name))),
		}
	}
	if _, ok := e.values[name]; !ok {
		e.values[name] = key
	}
}

// key returns the key in names of a value of width bits.
func (e *enum) key(v uint64, width uint8) uint64 {
	if e.signed {
		return uint64(signed(v, width))
	}
	return lowBits(v, width)
}

type enumerator struct{ json, text string }

// flag is an enumerator that is one bit.
type flag struct {
	bit  uint64
	name string
}

// findFlags sets flags if the enumerators are flags: at least three are single bits, the others
// combine these, and they are not consecutive numbers.
func (e *enum) findFlags() {
	all, least, most := uint64(0), uint64(math.MaxUint64), uint64(0)
	var flags []flag
	for key, name := range e.names {
		if bits.OnesCount64(key) == 1 {
			flags = append(flags, flag{key, name.text})
			all |= key
		}
		least, most = min(least, key), max(most, key)
	}
	for key := range e.names {
		if key&^all != 0 {
			return
		}
	}
	if len(flags) < 3 || most-least < uint64(len(e.names)) {
		return
	}
	slices.SortFunc(flags, func(a, b flag) int { return cmp.Compare(a.bit, b.bit) })
	e.flags = flags
}

// len returns the number of elements in b, which begins with the array.
func (a *array) len(b []byte) int {
	if !a.rest && a.n*a.stride <= len(b) {
		return a.n
	}
	return min(a.n, len(b)/a.stride)
}

// used returns how many of the n elements in b are used: in an array of addresses, such as a stack, zeros at
// the end are not.
func (a *array) used(b []byte, n int) int {
	if len(a.text) == 1 && a.text[0].meaning == Address {
		for n > 0 && a.text[0].load(b[(n-1)*a.stride:]) == 0 {
			n--
		}
	}
	return n
}

// whole returns the bytes of the array, with which b begins, or nil if the record ends within it.
func (a *array) whole(b []byte) []byte {
	if n := a.len(b); n == a.n {
		return b[:n*a.stride]
	}
	return nil
}

// number returns v, loaded by o, with the sign of its type. An unsigned 64-bit number above MaxInt64
// becomes MaxInt64.
func (o *op) number(v uint64) int64 {
	if o.kind == kindInt {
		return signed(v, o.width)
	}
	return int64(min(v, math.MaxInt64))
}

// load loads the integer or bitfield of o from b. A bitfield of 64 bits can span 9 bytes.
func (o *op) load(b []byte) uint64 {
	b = b[o.off : o.off+int(o.size)]
	var v uint64
	switch {
	case o.size == 8:
		v = binary.LittleEndian.Uint64(b)
	case o.size == 4:
		v = uint64(binary.LittleEndian.Uint32(b))
	default:
		for i := min(len(b), 8) - 1; i >= 0; i-- {
			v = v<<8 | uint64(b[i])
		}
	}
	if o.shift == 0 && o.width == o.size*8 {
		return v
	}
	v >>= o.shift
	if len(b) == 9 {
		v |= uint64(b[8]) << (64 - o.shift)
	}
	return lowBits(v, o.width)
}

// scalar reports whether o loads an integer, a pointer or an enum.
func (o *op) scalar() bool {
	switch o.kind {
	case kindUint, kindInt, kindBool, kindPointer, kindEnum:
		return true
	}
	return false
}

// lowBits returns the lowest bits of v, width of them.
func lowBits(v uint64, width uint8) uint64 { return v & (math.MaxUint64 >> (64 - width)) }

// signed sign-extends v, an integer of width bits.
func signed(v uint64, width uint8) int64 { return int64(v<<(64-width)) >> (64 - width) }
