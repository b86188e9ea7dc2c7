package decode

import (
	"encoding/binary"
	"math"

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
	off        int
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
	stride int  // bytes from one element to the next
	n      int  // maximum number of elements
	rest   bool // the record can end within the array
}

type enum struct {
	signed bool
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

// len returns the number of elements in b, which begins with the array.
func (a *array) len(b []byte) int {
	if !a.rest {
		return a.n
	}
	return min(a.n, len(b)/a.stride)
}

// bytes returns the C string in b, which begins with the array.
func (a *array) bytes(b []byte) []byte {
	b = b[:a.len(b)]
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
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

// lowBits returns the lowest bits of v, width of them.
func lowBits(v uint64, width uint8) uint64 { return v & (math.MaxUint64 >> (64 - width)) }

// signed sign-extends v, an integer of width bits.
func signed(v uint64, width uint8) int64 { return int64(v<<(64-width)) >> (64 - width) }
