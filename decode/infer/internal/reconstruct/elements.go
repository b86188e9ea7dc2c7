package reconstruct

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/internal/srcline"
)

// settleElements sets the range of an array, or of a member of its elements.
func (i *item) settleElements() bool {
	if i.dropCleared(); len(i.writes) == 0 {
		return false
	}
	i.joinBytes()
	at := map[int64]int64{} // offset by index
	var offs []int64
	i.size = i.writes[0].length()
	known := true
	for _, w := range i.writes {
		if w.length() != i.size {
			return false
		}
		n := w.index()
		known = known && n >= 0
		if off, ok := at[n]; ok && n >= 0 && off != w.Off {
			return false
		}
		at[n] = w.Off
		offs = append(offs, w.Off)
		i.told = i.told || !w.Constant
	}
	if !known {
		slices.Sort(offs)
		at = map[int64]int64{}
		for n, off := range slices.Compact(offs) {
			at[int64(n)] = off
		}
	}
	return i.settleStride(at)
}

// dropCleared drops zeros that a loop stores: the compiler makes them and those beside the array a memset, with
// either line.
func (i *item) dropCleared() {
	i.writes = slices.DeleteFunc(i.writes, func(w namedWrite) bool {
		return w.index() < 0 && w.Constant && w.Const == 0 && w.By == ""
	})
}

// joinBytes makes one write of those that store the bytes of an unaligned element, all in one line.
func (i *item) joinBytes() {
	bytes := map[int64][]namedWrite{} // by index
	for _, w := range i.writes {
		if w.By != "" || w.Size != 1 || w.index() < 0 {
			return
		}
		bytes[w.index()] = append(bytes[w.index()], w)
	}
	var all []namedWrite
	for _, n := range slices.Sorted(maps.Keys(bytes)) {
		parts := bytes[n]
		slices.SortFunc(parts, func(a, b namedWrite) int { return cmp.Compare(a.Off, b.Off) })
		first, last := parts[0], parts[len(parts)-1]
		size := last.Off - first.Off + 1
		if size != int64(len(parts)) || size != 2 && size != 4 && size != 8 {
			return
		}
		whole := *first.Write
		whole.Size, whole.Max, whole.Constant = size, size, false
		first.Write = &whole
		all = append(all, first)
	}
	i.writes = all
}

// settleStride sets the array that has elements at these offsets, by index.
func (i *item) settleStride(at map[int64]int64) bool {
	indexes := slices.Sorted(maps.Keys(at))
	first, last := indexes[0], indexes[len(indexes)-1]
	isElement := i.path[len(i.path)-1].Member == ""
	i.stride = i.size
	if last > first {
		i.stride = (at[last] - at[first]) / (last - first)
	} else if !isElement && first > 0 {
		return false
	}
	i.off, i.count = at[first]-first*i.stride, last+1
	for n, off := range at {
		if off != i.off+n*i.stride {
			return false
		}
	}
	return i.off >= 0 && i.stride >= i.size && (i.stride == i.size || !isElement)
}

// none is the index in a path that has none.
const none = -2

// index returns the number of the element that the write's path names, -1 if the line does not say it, or none.
func (w *namedWrite) index() int64 {
	for _, s := range w.path {
		if s.Member == "" {
			return s.Index
		}
	}
	return none
}

// addTexts gives a member whose first byte is named the size of the string that a helper writes there.
func (l *layout) addTexts() {
	known := map[string]bool{}
	for _, i := range l.items {
		known[key(i.path)] = true
	}
	for _, i := range l.items {
		if i.size > 1 || i.count > int64(i.elements()) || i.elements() == 1 && known[key(i.path[:len(i.path)-1])] {
			continue
		}
		for _, e := range l.sites {
			for w := range e.site.Writes {
				w := namedWrite{Write: &e.site.Writes[w]}
				if w.Off == i.off && isText(w.By) && w.length() > i.end()-i.off {
					*i = item{path: i.path[:len(i.path)-i.elements()], sure: i.sure, off: i.off, size: w.length(), told: true, writes: []namedWrite{w}}
				}
			}
		}
	}
}

// elements returns 1 if the path ends in an element of an array, or 0.
func (i *item) elements() int {
	if i.path[len(i.path)-1].Member == "" {
		return 1
	}
	return 0
}

// stretch lets members of unknown size reach to the next member, or to size. Programs often mask a length by one
// less than the size of a buffer.
func (l *layout) stretch(size int64) {
	l.joinTerminators()
	for n, i := range l.items {
		next := size
		if n+1 < len(l.items) {
			next = l.items[n+1].off
		}
		mask := i.size&(i.size+1) == 0 && i.size > 8
		switch {
		case next <= i.end() || i.count > 1:
		case i.isTerminator() && !l.isWritten(i.end(), next):
			*i = item{path: i.path[:len(i.path)-1], sure: i.sure, off: i.off, size: next - i.off, text: true, told: true, writes: i.writes}
		case i.open:
			i.size = next - i.off
			if n := withoutPadding(i.size, l.align()); next == size && !l.isWritten(i.off+n, size) {
				i.size = n
			}
			i.whole = i.whole || i.writes[0].By == load && i.size != 4 // eight bytes can be four and padding
		case i.loose && mask:
			i.size++
		}
	}
}

// withoutPadding returns the size of the last member of a record, if it and the padding that aligns the record have size
// bytes. Programs give buffers the size of a power of two.
func withoutPadding(size, align int64) int64 {
	if p := int64(1) << (bits.Len64(uint64(size)) - 1); size-p < align && p > 8 {
		return p
	}
	return size
}

// align returns the alignment of the record in bytes, as far as its numbers are known.
func (l *layout) align() int64 {
	a := int64(1)
	for _, i := range l.items {
		if !i.whole && i.kind() == number {
			a = max(a, i.size)
		}
	}
	return a
}

// joinTerminators makes an array text if the program ends a string in it.
func (l *layout) joinTerminators() {
	arrays := map[string]*item{}
	for _, i := range l.items {
		arrays[key(i.path)] = i
	}
	l.items = slices.DeleteFunc(l.items, func(i *item) bool {
		if !i.isTerminator() {
			return false
		}
		a := arrays[key(i.path[:len(i.path)-1])]
		if a != nil && a.off == i.off {
			a.text = true
		}
		return a != nil
	})
}

// isTerminator reports whether the program only ends a string at its first byte: e->name[0] = '\0'.
func (i *item) isTerminator() bool {
	return i.elements() == 1 && i.size == 1 && !slices.ContainsFunc(i.writes, func(w namedWrite) bool {
		return !strings.HasPrefix(w.value(), "'")
	})
}

// shareStrides gives members that are known in one element only the stride of the other members of the array.
func (l *layout) shareStrides() {
	longest := map[string]*item{}
	array := func(i *item) string {
		n := slices.IndexFunc(i.path, func(s srcline.Step) bool { return s.Member == "" })
		return key(i.path[:n+1])
	}
	for _, i := range l.items {
		if a := array(i); longest[a] == nil || i.count > longest[a].count {
			longest[a] = i
		}
	}
	for _, i := range l.items {
		if of := longest[array(i)]; i.count == 1 && of.count > 1 && i.size <= of.stride {
			i.stride, i.count = of.stride, of.count
		}
	}
}
