package reconstruct

import (
	"slices"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// noteArray notes a write to an element of an array at an offset that is not constant.
func (n *namer) noteArray(e *evidence, w *recordflow.Write, vars []variable) {
	at := *w
	at.Off = w.Least
	found, ok := n.name(&at, vars)
	if !ok || len(found.path) != 2 || found.index() != -1 || w.Least < 0 || w.Least > maxRecord || w.Least == 0 && !found.sure {
		return
	}
	found.Write = w
	if e.arrays == nil {
		e.arrays = map[string]namedWrite{}
	}
	name := found.path[0].Member
	if old, ok := e.arrays[name]; !ok || w.Least < old.Least {
		e.arrays[name] = found
	}
}

// addArrays adds an array whose elements are written at offsets that are not constant, in a record of size bytes. It
// reaches from the member before it to the next one, or to size.
func (l *layout) addArrays(size int64) {
	for _, e := range l.sites {
		if e.site.Min != e.site.Max || len(e.arrays) != 1 {
			continue
		}
		for name, w := range e.arrays {
			if slices.ContainsFunc(l.items, func(i *item) bool { return i.path[0].Member == name }) {
				continue
			}
			if lo, hi, ok := l.room(&w, size); ok {
				l.items = append(l.items, arrayItem(&w, lo, hi))
				l.sort()
			}
		}
	}
}

// room returns the bytes between members in which the array must lie: those from the least offset of its elements, or
// if no such is known, the only ones that have room for two elements. They hold elements and nothing else.
func (l *layout) room(w *namedWrite, size int64) (lo, hi int64, ok bool) {
	elem := w.Size
	if isText(w.By) && w.Least > 0 {
		elem = 1
	}
	if elem != 1 && elem != 2 && elem != 4 && elem != 8 {
		return 0, 0, false
	}
	found := 0
	for _, g := range l.gaps(size) {
		g.lo = (g.lo + elem - 1) / elem * elem
		switch {
		case w.Least > 0 && g.lo != w.Least, w.Least == 0 && g.hi-g.lo < 2*elem:
		default:
			lo, hi = g.lo, g.hi
			found++
		}
	}
	unknown := w.Least == 0 && (l.isWritten(lo, hi) || l.isNamed(lo, hi))
	return lo, hi, found == 1 && hi%elem == 0 && !unknown
}

// isNamed reports whether a line names a write between two offsets.
func (l *layout) isNamed(lo, hi int64) bool {
	return slices.ContainsFunc(l.sites, func(e *evidence) bool {
		return slices.ContainsFunc(e.writes, func(w namedWrite) bool { return w.Off < hi && w.Off+w.length() > lo })
	})
}

// gaps returns the bytes of a record of size bytes that belong to no member.
func (l *layout) gaps(size int64) (all []span) {
	at := int64(0)
	for _, i := range l.items { // by offset
		if i.off > at {
			all = append(all, span{at, i.off})
		}
		at = max(at, i.end())
	}
	if at < size {
		all = append(all, span{at, size})
	}
	return all
}

// arrayItem returns the array that fills the bytes from lo to hi.
func arrayItem(w *namedWrite, lo, hi int64) *item {
	i := &item{path: canonical(w.path), sure: w.sure, off: lo, told: true, writes: []namedWrite{*w}}
	if w.Size <= 1 || isText(w.By) {
		i.path, i.size, i.text, i.whole = []srcline.Step{w.path[0]}, hi-lo, isText(w.By), true
		return i
	}
	i.size, i.stride, i.count = w.Size, w.Size, (hi-lo)/w.Size
	return i
}
