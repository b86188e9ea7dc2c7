package recordflow

import (
	"math"
	"slices"
)

// value is what is known about the contents of a register or of a slot of the stack. The zero value means that
// nothing is known.
type value struct {
	kind kind
	// A number that a helper returned, as an index into analysis.origins, 0 if none. It has been shifted right
	// by shift bits, then reduced to width bits, then shifted left by left bits.
	by                 uint16
	shift, width, left uint8
	// A number that is one of several constants, as a number of analysis.constants plus 1; 0 otherwise.
	set uint16
	// The object that a pointer points into. Registers that hold a number with the same id, not 0, hold the
	// same number.
	id int32
	// Bounds of the number, which is signed, or of the pointer's offset into the object.
	min, max int64
}

type kind uint8

const (
	unknown kind = iota
	number       // min to max
	pointer      // min to max bytes into object id
	dynptr       // a dynptr to object id, from min on
	address      // the address of instruction min
)

// full is a number of which nothing is known.
var full = value{kind: number, min: math.MinInt64, max: math.MaxInt64}

func constant(n int64) value { return value{kind: number, min: n, max: n} }

func (v value) isConstant() bool { return v.kind == number && v.min == v.max }

// isNull reports whether v is the constant 0, which can be the NULL of a pointer.
func (v value) isNull() bool { return v.isConstant() && v.min == 0 }

// bounds returns the bounds of v as a number.
func (v value) bounds() (lo, hi int64) {
	if v.kind != number {
		return math.MinInt64, math.MaxInt64
	}
	return v.min, v.max
}

// within returns v, a number, with bounds that are no wider than lo and hi. Nothing changes if no number is left.
func (v value) within(lo, hi int64) value {
	if v.kind == unknown {
		v = full
	}
	if lo, hi = max(lo, v.min), min(hi, v.max); lo <= hi && (lo > v.min || hi < v.max) {
		v.min, v.max, v.set = lo, hi, 0
	}
	return v
}

// join returns what is known of a register that holds v on one path and o on another. If one is NULL and the
// other a pointer, it returns the pointer. If widen is set, a bound that o exceeds is dropped: join then settles
// soon in a loop.
func (a *analysis) join(v, o value, widen bool) value {
	switch {
	case v == o:
		return v
	case v.isNull() && o.kind == pointer:
		return o
	case o.isNull() && v.kind == pointer:
		return v
	case v.kind == number && o.kind == number:
		if v.set = a.oneOf(v, o); v.set != 0 {
			widen = false
		}
		if v.by != o.by || v.shift != o.shift || v.left != o.left {
			v.by, v.shift, v.width, v.left = 0, 0, 0, 0
		}
		v.width = max(v.width, o.width)
		if v.by == 0 {
			v.width = 0
		}
		if v.id != o.id {
			v.id = 0
		}
	case v.kind == pointer && o.kind == pointer:
		if v.id = a.union(v.id, o.id); v.id == noObject {
			return value{}
		}
	default:
		return value{}
	}
	switch {
	case o.min < v.min && widen:
		v.min = math.MinInt64
	case o.min < v.min:
		v.min = o.min
	}
	switch {
	case o.max > v.max && widen:
		v.max = math.MaxInt64
	case o.max > v.max:
		v.max = o.max
	}
	return v
}

// maxConstants is how many constants of a number are told apart.
const maxConstants = 8

// constantsOf returns the constants that v can be, in order; nil if it can be other numbers.
func (a *analysis) constantsOf(v value) []int64 {
	switch {
	case v.isConstant():
		return []int64{v.min}
	case v.kind == number && v.set != 0:
		return a.constants[v.set-1]
	}
	return nil
}

// oneOf returns the set of the constants that v or o can be, 0 if these are too many or not known.
func (a *analysis) oneOf(v, o value) uint16 {
	x, y := a.constantsOf(v), a.constantsOf(o)
	if x == nil || y == nil {
		return 0
	}
	all := slices.Concat(x, y)
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > maxConstants {
		return 0
	}
	for i, known := range a.constants {
		if slices.Equal(known, all) {
			return uint16(i) + 1
		}
	}
	if len(a.constants) >= maxConstantSets {
		return 0
	}
	a.constants = append(a.constants, all)
	return uint16(len(a.constants))
}

// maxConstantSets bounds the sets of constants of a program.
const maxConstantSets = 1 << 10

// part returns size bytes of v at off, for v in memory of little-endian order.
func (v value) part(off, size int64) value {
	if v.kind != number || size >= 8 {
		return value{}
	}
	bits := uint8(8 * size)
	if v.isConstant() {
		return constant(v.min >> (8 * off) & (1<<bits - 1))
	}
	p := value{kind: number, max: 1<<bits - 1}
	if v.by != 0 && v.left == 0 && uint8(8*off) < v.width {
		p.by, p.shift, p.width = v.by, (v.shift+uint8(8*off))%64, min(v.width-uint8(8*off), bits)
	}
	if off == 0 && v.min >= 0 && v.max <= p.max {
		p.min, p.max, p.set = v.min, v.max, v.set
	}
	return p
}

// truncate returns the low bytes of v.
func truncate(v, size int64) uint64 {
	if size >= 8 {
		return uint64(v)
	}
	return uint64(v) & (1<<(8*size) - 1)
}
