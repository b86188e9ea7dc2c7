package reconstruct

import (
	"cmp"
	"maps"
	"slices"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// layout is the members of a record.
type layout struct {
	items []*item // by offset
	sites []*evidence
}

// item is a member that lines name: a number, an array or bytes of unknown structure.
type item struct {
	path   []srcline.Step // all indexes are -1
	writes []namedWrite
	sure   bool

	off, size int64 // of the member, or of an element's part that the path names
	// stride and count are those of the array in the path; 0 if it has none.
	stride, count int64
	whole         bool // the member is written in parts that have no names: it is no number
	text          bool // it is a string
	told          bool // the size is known, not only that of a store, which can cover more members
	open          bool // not even an upper bound is known
	loose         bool // only an upper bound of the writes' size is known: the member can be a little longer
}

func (i *item) end() int64 {
	if i.count > 0 {
		return i.off + i.stride*(i.count-1) + i.size
	}
	return i.off + i.size
}

func (l *layout) end() (end int64) {
	for _, i := range l.items {
		end = max(end, i.end())
	}
	return end
}

// layoutOf returns the members that the evidence agrees on.
func layoutOf(all []*evidence) *layout {
	l := &layout{sites: all}
	var known, other []namedWrite
	for _, e := range all {
		for _, w := range e.writes {
			if w.sure {
				known = append(known, w)
			} else {
				other = append(other, w)
			}
		}
	}
	l.add(known)
	if all[0].site.Min != all[0].site.Max {
		other = l.withoutTail(other)
	}
	l.add(l.nested(other))
	l.shareStrides()
	l.addTexts()
	l.sort()
	l.cutMerged()
	l.dropContradictions()
	return l
}

// withoutTail returns the writes without those through variables that point behind the members known so far, or if none
// are, behind those that the variable with the most writes names: what follows differs from record to record.
func (l *layout) withoutTail(writes []namedWrite) []namedWrite {
	end := l.end()
	if end == 0 {
		ends, counts := map[string]int64{}, map[string]int{}
		most := ""
		for _, w := range writes {
			ends[w.base] = max(ends[w.base], w.Off+w.length())
			if counts[w.base]++; counts[w.base] > counts[most] {
				most = w.base
			}
		}
		end = ends[most]
	}
	starts := map[string]int64{}
	for _, w := range writes {
		if off, ok := starts[w.base]; !ok || w.Off < off {
			starts[w.base] = w.Off
		}
	}
	return slices.DeleteFunc(writes, func(w namedWrite) bool { return starts[w.base] >= end })
}

// add adds the members that the writes name.
func (l *layout) add(writes []namedWrite) {
	byPath := map[string]*item{}
	for _, w := range writes {
		k := key(w.path)
		if byPath[k] == nil {
			byPath[k] = &item{path: canonical(w.path), sure: w.sure}
		}
		byPath[k].writes = append(byPath[k].writes, w)
	}
	for _, i := range l.items {
		delete(byPath, key(i.path))
	}
	for _, k := range slices.Sorted(maps.Keys(byPath)) {
		if i := byPath[k]; i.settle() {
			l.items = append(l.items, i)
		}
	}
}

func (l *layout) sort() {
	slices.SortStableFunc(l.items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(b.end(), a.end()))
	})
}

func canonical(path []srcline.Step) []srcline.Step {
	path = slices.Clone(path)
	for i := range path {
		if path[i].Member == "" {
			path[i].Index = -1
		}
	}
	return path
}

// settle sets where the member is, from its writes. It reports whether they agree.
func (i *item) settle() bool {
	if i.dropDoubtful(); len(i.writes) == 0 {
		return false
	}
	if slices.ContainsFunc(i.path, func(s srcline.Step) bool { return s.Member == "" }) {
		return i.settleElements()
	}
	if parts := i.parts(); len(parts) > 1 && i.settleRange(parts) {
		return true
	}
	single := slices.DeleteFunc(slices.Clone(i.writes), func(w namedWrite) bool { return w.follows || w.copied && w.inValue })
	return i.settleAt(single) && !(i.size == 1 && i.isSplit())
}

// parts returns the writes that copy the member in parts, or that store the bytes of an unaligned number.
func (i *item) parts() []namedWrite {
	var copies []namedWrite
	bytes := map[int64]namedWrite{}
	for _, w := range i.writes {
		switch {
		case w.copied:
			copies = append(copies, w)
		case w.assign != nil && w.Size == 1:
			bytes[w.Off] = w
		}
	}
	if len(bytes) == 2 || len(bytes) == 4 || len(bytes) == 8 {
		return slices.Collect(maps.Values(bytes))
	}
	return copies
}

// isSplit reports whether bytes beside the member are stored with its line: it is longer than one of them.
func (i *item) isSplit() bool {
	return slices.ContainsFunc(i.writes, func(w namedWrite) bool { return w.Size == 1 && (w.Off == i.off-1 || w.Off == i.off+1) })
}

// settleAt sets the range of a member that each write covers. Where stores differ, the compiler joined the longer one
// with that of another member.
func (i *item) settleAt(writes []namedWrite) bool {
	if len(writes) == 0 {
		return false
	}
	i.off, i.loose = writes[0].Off, true
	shortest := int64(0)
	for _, w := range writes {
		if w.Off != i.off {
			return false
		}
		i.size = max(i.size, w.length())
		if w.By == "" && (shortest == 0 || w.Size < shortest) {
			shortest = w.Size
		}
		i.loose = i.loose && w.Size == 0
		i.open = i.open || w.isOpen()
	}
	if shortest > 0 {
		i.size = shortest
	}
	i.told = slices.ContainsFunc(writes, func(w namedWrite) bool { return w.length() == i.size && (!w.Constant || w.By != "") })
	return true
}

// dropDoubtful drops writes whose line can be that of another member, and other constants with these lines: the
// compiler makes several stores of many.
func (i *item) dropDoubtful() {
	doubtful := map[recordflow.Line]bool{}
	for _, w := range i.writes {
		doubtful[w.Write.Line] = doubtful[w.Write.Line] || w.doubtful
	}
	i.writes = slices.DeleteFunc(i.writes, func(w namedWrite) bool {
		return w.doubtful || w.Constant && doubtful[w.Write.Line]
	})
}

// settleRange sets the range of a member that is written in parts, with the padding between them.
func (i *item) settleRange(parts []namedWrite) bool {
	slices.SortStableFunc(parts, func(a, b namedWrite) int { return cmp.Compare(a.Off, b.Off) })
	lo, hi, number := parts[0].Off, parts[0].Off, true
	for _, w := range parts {
		if hole := w.Off - hi; hole > 0 && (hole > 7 || w.Off%4 != 0) {
			return false
		}
		hi = max(hi, w.Off+w.length())
		number = number && !w.copied
	}
	if number && hi-lo != int64(len(parts)) {
		return false
	}
	if slices.ContainsFunc(parts, func(w namedWrite) bool { return w.copies > 0 && w.copies != hi-lo }) {
		return false // some of it is elsewhere, as in a store that branches share
	}
	i.off, i.size, i.told = lo, hi-lo, true
	i.whole = !number && !slices.ContainsFunc(parts, func(w namedWrite) bool { return w.Off == lo && w.length() == hi-lo })
	return true
}

// length returns the number of bytes that the write covers at most.
func (w *namedWrite) length() int64 {
	if w.isOpen() {
		return 1
	}
	return cmp.Or(w.Size, w.Max)
}

// isOpen reports whether no length is known.
func (w *namedWrite) isOpen() bool { return w.Size == 0 && (w.Max <= 0 || w.Max > maxLength) }

// maxLength is the longest write that is believed: a longer one has only the bounds of its type.
const maxLength = 1 << 20

// dropContradictions drops members that overlap others: those that are less sure, or else both. Members that begin at
// one place can be those of a union.
func (l *layout) dropContradictions() {
	starts := l.starts()
	drop := make([]bool, len(l.items))
	for i, a := range l.items {
		for j := i + 1; j < len(l.items) && l.items[j].off < a.end(); j++ {
			b := l.items[j]
			switch {
			case drop[i] && drop[j], inside(a.path, b.path), inside(b.path, a.path), sameArray(a, b):
			case a.sure && !b.sure:
				drop[j] = true
			case b.sure && !a.sure:
				drop[i] = true
			case !areArms(a.path, b.path, starts):
				drop[i], drop[j] = true, true
			}
		}
	}
	var kept []*item
	for i, a := range l.items {
		if !drop[i] && !l.besideDropped(i, drop) {
			kept = append(kept, a)
		}
	}
	l.items = kept
}

// besideDropped reports whether a dropped member begins where member i does: it is not sure then either, as the site can
// make records of two kinds.
func (l *layout) besideDropped(i int, drop []bool) bool {
	a := l.items[i]
	lo, hi := i, i
	for lo > 0 && l.items[lo-1].off == a.off {
		lo--
	}
	for hi+1 < len(l.items) && l.items[hi+1].off == a.off {
		hi++
	}
	for j := lo; j <= hi; j++ {
		if b := l.items[j]; drop[j] && a.sure == b.sure && !inside(a.path, b.path) && !inside(b.path, a.path) {
			return true
		}
	}
	return false
}

// starts returns where members begin, by path, those that are structs included.
func (l *layout) starts() map[string]int64 {
	starts := map[string]int64{}
	for _, i := range l.items {
		for n := range i.path {
			k := key(i.path[:n+1])
			if off, ok := starts[k]; !ok || i.off < off {
				starts[k] = i.off
			}
		}
	}
	return starts
}

// inside reports whether a path leads through another.
func inside(outer, inner []srcline.Step) bool {
	return len(inner) > len(outer) && slices.Equal(outer, inner[:len(outer)])
}

// areArms reports whether the members of one struct to which the paths lead can be those of a union: they begin at one
// place, or both are structs, of which the first member may not be known.
func areArms(a, b []srcline.Step, starts map[string]int64) bool {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	if n == len(a) || n == len(b) {
		return false
	}
	return len(a) > n+1 && len(b) > n+1 || starts[key(a[:n+1])] == starts[key(b[:n+1])]
}

// sameArray reports whether both are in elements of the same array, and do not overlap in one element.
func sameArray(a, b *item) bool {
	n := slices.IndexFunc(a.path, func(s srcline.Step) bool { return s.Member == "" })
	if n < 0 || a.stride != b.stride || len(b.path) <= n || !slices.Equal(a.path[:n+1], b.path[:n+1]) {
		return false
	}
	return b.off >= a.off+a.size && b.off-a.off+b.size <= a.stride
}
