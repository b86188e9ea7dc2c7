package reconstruct

import (
	"cmp"
	"maps"
	"slices"

	"github.com/rbtool/rbtool/internal/srcline"
)

// nested returns writes through variables that are not known to be the record. If such a write lies in a member
// that is a struct, its path begins there: the variable points to that member.
func (l *layout) nested(writes []namedWrite) []namedWrite {
	hulls := map[string]*hull{}
	for _, i := range l.items {
		for n := 1; n <= len(i.path); n++ {
			if i.path[n-1].Member == "" {
				break
			}
			if n == len(i.path) && !i.whole {
				continue
			}
			k := key(i.path[:n])
			h := cmp.Or(hulls[k], &hull{i.path[:n], i.off, i.end()})
			h.lo, h.hi = min(h.lo, i.off), max(h.hi, i.end())
			hulls[k] = h
		}
	}
	all := slices.SortedFunc(maps.Values(hulls), func(a, b *hull) int {
		return cmp.Or(cmp.Compare(len(b.path), len(a.path)), cmp.Compare(a.lo, b.lo))
	})
	bases := map[string][]namedWrite{}
	for _, w := range writes {
		bases[w.base] = append(bases[w.base], w)
	}
	var found []namedWrite
	for _, base := range slices.Sorted(maps.Keys(bases)) {
		found = append(found, l.nestedIn(all, bases[base])...)
	}
	return found
}

// nestedIn returns the writes through one variable with the path of the innermost struct in which one of them lies, or
// of which they enclose what is known.
func (l *layout) nestedIn(hulls []*hull, writes []namedWrite) []namedWrite {
	at := map[string]int64{}
	for _, w := range writes {
		k := key(w.path)
		if off, ok := at[k]; ok && off != w.Off && w.index() == none {
			return writes // it points to several structs
		}
		at[k] = w.Off
	}
	for _, h := range hulls {
		if !h.has(writes) && !l.within(h, writes) {
			continue
		}
		for i := range writes {
			writes[i].path = slices.Concat(h.path, writes[i].path)
		}
		break
	}
	return writes
}

// has reports whether one of the writes lies in the struct.
func (h *hull) has(writes []namedWrite) bool {
	return slices.ContainsFunc(writes, func(w namedWrite) bool { return h.lo <= w.Off && w.Off+w.length() <= h.hi })
}

// within reports whether the writes enclose what is known of the struct, and no other members.
func (l *layout) within(h *hull, writes []namedWrite) bool {
	lo, hi := writes[0].Off, int64(0)
	for _, w := range writes {
		lo, hi = min(lo, w.Off), max(hi, w.Off+w.length())
	}
	return lo < h.lo && h.hi < hi && !slices.ContainsFunc(l.items, func(i *item) bool {
		return i.off < hi && i.end() > lo && (i.off < h.lo || i.end() > h.hi)
	})
}

// hull is the bytes of a struct that are known to belong to it.
type hull struct {
	path   []srcline.Step
	lo, hi int64
}
