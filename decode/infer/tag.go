package infer

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// spot is a place in a record: a number of size bytes at off.
type spot struct{ off, size int64 }

// constantsAt returns the values that a record can have at a spot, sorted, or nil unless all writes there store
// constants. It leaves out a zero if a later write of the same function stores another constant: the zero is most likely
// that of a memset, of which only a part is written over. zero reports that it did.
func constantsAt(writes []recordflow.Write, at spot) (values []uint64, zero bool) {
	var parts, zeros []*recordflow.Write
	last := map[string]int{} // last instruction of a function that stores another constant
	for i := range writes {
		w := &writes[i]
		if !touches(w, at) {
			continue
		}
		switch v, ok := constantOf(w, at); {
		case ok && v == 0:
			zeros = append(zeros, w)
		case ok:
			values = append(values, v)
			last[w.Func] = max(last[w.Func], w.Ins)
		case w.Constant && w.Off >= at.off && w.Off+w.Size <= at.off+at.size:
			parts = append(parts, w)
		default:
			return nil, false
		}
	}
	zero = len(zeros) > 0
	for _, w := range zeros {
		if w.Ins >= last[w.Func] {
			values, zero = append(values, 0), false
			break
		}
	}
	if parts != nil {
		return joined(parts, at, values), zero || len(values) > 0
	}
	slices.Sort(values)
	return slices.Compact(values), zero
}

// joined returns the value that parts of a number make, which a program stores one by one if the struct is packed. It
// returns nil unless each byte is stored once, apart from zeros that were there before.
func joined(parts []*recordflow.Write, at spot, before []uint64) []uint64 {
	var v, have uint64
	for _, w := range parts {
		shift := 8 * (w.Off - at.off)
		mask := (uint64(1)<<(8*w.Size) - 1) << shift
		if have&mask != 0 {
			return nil
		}
		have |= mask
		v |= w.Const << shift & mask
	}
	whole := have == uint64(1)<<(8*at.size)-1
	if slices.ContainsFunc(before, func(v uint64) bool { return v != 0 }) || !whole && before == nil {
		return nil
	}
	return []uint64{v}
}

// touches reports whether records can have what w writes to a byte of a spot.
func touches(w *recordflow.Write, at spot) bool {
	if w.Off < 0 {
		return w.Least < at.off+at.size
	}
	if w.Over || w.Off >= at.off+at.size {
		return false
	}
	size := w.Size
	if size == 0 {
		size = w.Max
	}
	return size == 0 || w.Off+size > at.off
}

// constantOf returns the part of the constant that w stores at a spot, and false if it does not cover the spot.
func constantOf(w *recordflow.Write, at spot) (uint64, bool) {
	if !w.Constant || w.Size > 8 || w.Off > at.off || w.Off+w.Size < at.off+at.size {
		return 0, false
	}
	v := w.Const >> (8 * (at.off - w.Off))
	if at.size < 8 {
		v &= 1<<(8*at.size) - 1
	}
	return v, true
}

// disjoint reports whether sorted lists have no value in common.
func disjoint(a, b []uint64) bool {
	return !slices.ContainsFunc(a, func(v uint64) bool { return hasValue(b, v) })
}

// subset reports whether b has all values of a; both are sorted.
func subset(a, b []uint64) bool {
	return !slices.ContainsFunc(a, func(v uint64) bool { return !hasValue(b, v) })
}

func hasValue(sorted []uint64, v uint64) bool {
	_, ok := slices.BinarySearch(sorted, v)
	return ok
}

// Limits on what is tried to tell records apart. They bound the time for hostile programs.
const (
	maxSpots  = 24
	maxMakers = 128
	maxTags   = 3 // spots that are used at once
)

// spotsOf returns the spots that could tell the records of makers apart, the likeliest first. kinds are those of fields
// that say of which kind a record is.
func spotsOf(makers []*maker) (spots []spot, kinds map[spot]bool) {
	ranks := map[spot]int{}
	for _, m := range makers {
		for _, s := range m.sites {
			var numbers []number
			if m.group != nil {
				numbers = fieldsOf(m.group.typ).numbers
			}
			for i := range s.flow.Writes {
				addSpots(ranks, &s.flow.Writes[i], numbers)
			}
		}
	}
	for at := range ranks {
		spots = append(spots, at)
	}
	slices.SortFunc(spots, func(a, b spot) int {
		return cmp.Or(cmp.Compare(ranks[a], ranks[b]), cmp.Compare(a.off, b.off), cmp.Compare(b.size, a.size))
	})
	kinds = map[spot]bool{}
	for at, rank := range ranks {
		kinds[at] = rank <= rankKind
	}
	return spots[:min(len(spots), maxSpots)], kinds
}

// Ranks of spots.
const (
	rankEnum  = iota // a field is an enum
	rankKind         // a field's name says that it is a kind
	rankField        // a field
	rankStore        // some number
)

// addSpots adds the spots that w stores constants into: the fields that it covers or lies in, and the store itself.
func addSpots(ranks map[spot]int, w *recordflow.Write, numbers []number) {
	if !w.Constant || w.Off < 0 || w.Off > math.MaxInt32 {
		return
	}
	add := func(at spot, rank int) {
		if old, ok := ranks[at]; !ok || rank < old {
			ranks[at] = rank
		}
	}
	switch w.Size {
	case 1, 2, 4, 8:
		add(spot{w.Off, w.Size}, rankStore)
	}
	for _, n := range numbers {
		_, whole := constantOf(w, n.at)
		if whole || w.Off >= n.at.off && w.Off+w.Size <= n.at.off+n.at.size {
			add(n.at, n.rank)
		}
	}
}

// fields are the fields of a type that every record has once: those that are not in unions and arrays.
type fields struct {
	numbers []number
	unions  []unionAt
	left    int // fields that can still be visited
}

// number is an integer or enum.
type number struct {
	at   spot
	rank int
	enum *btf.Enum // nil for an integer
}

// unionAt is a union at an offset.
type unionAt struct {
	name string // of the field; "" for an anonymous one
	off  int64
	typ  *btf.Union
}

// maxNumbers bounds the numbers of a type that are looked at.
const maxNumbers = 256

func fieldsOf(t btf.Type) *fields {
	f := &fields{left: 4 * maxNumbers}
	f.add(t, "", 0, maxNesting)
	return f
}

func (f *fields) add(t btf.Type, name string, off int64, depth int) {
	if f.left--; f.left < 0 || depth == 0 || len(f.numbers) == maxNumbers {
		return
	}
	rank, enum := rankField, (*btf.Enum)(nil)
	if isKind(name) {
		rank = rankKind
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		for _, m := range t.Members {
			if m.BitfieldSize == 0 {
				f.add(m.Type, m.Name, off+int64(m.Offset/8), depth-1)
			}
		}
		return
	case *btf.Union:
		f.unions = append(f.unions, unionAt{name, off, t})
		return
	case *btf.Enum:
		rank, enum = rankEnum, t
	case *btf.Int:
	default:
		return
	}
	switch n, _ := btf.Sizeof(t); n {
	case 1, 2, 4, 8:
		f.numbers = append(f.numbers, number{spot{off, int64(n)}, rank, enum})
	}
}

// before returns the spots of the numbers in front of u, the likeliest kinds first.
func (f *fields) before(u unionAt) (spots []spot) {
	numbers := slices.Clone(f.numbers)
	slices.SortStableFunc(numbers, func(a, b number) int { return a.rank - b.rank })
	for _, n := range numbers {
		if n.at.off+n.at.size <= u.off {
			spots = append(spots, n.at)
		}
	}
	return spots[:min(len(spots), maxSpots)]
}

// isKind reports whether a field of this name usually says of which kind the record is.
func isKind(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"type", "kind", "op", "opcode", "cmd", "event", "event_id", "tag", "msg"} {
		if name == word || strings.HasSuffix(name, "_"+word) || strings.HasSuffix(name, word) && len(word) > 3 {
			return true
		}
	}
	return false
}
