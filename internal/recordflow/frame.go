package recordflow

import (
	"slices"
	"sort"
)

// frame is what is known of the memory of one object: the stack of a function, a record, an element of a map.
// Other states share it: see analysis.memory.
type frame struct {
	low, high int64  // limits of the offsets
	slots     []slot // by offset; they do not overlap
	lost      bool   // nothing is known: there were too many slots
}

// slot is a part of the memory that was written at once.
type slot struct {
	off, size int64
	val       value
	defs      defSet // the instructions that can have written it last
}

// Bounds of what is known. A function has at most 512 bytes of stack.
const (
	maxStack     = 512
	maxMemory    = 1 << 16 // of a record or an element, from its start
	maxSlots     = 1 << 8
	slotsPerStep = 4 // slots that take as long to copy or to join as an instruction takes
)

func (f *frame) clone() *frame {
	c := *f
	c.slots = slices.Clone(f.slots)
	return &c
}

// overflows reports whether f has too many slots. It then forgets them.
func (f *frame) overflows() bool {
	if len(f.slots) >= maxSlots {
		f.slots, f.lost = nil, true
	}
	return f.lost
}

// cut splits the slots at off.
func (f *frame) cut(off int64) {
	i := f.index(off)
	if i == len(f.slots) || f.slots[i].off >= off {
		return
	}
	s := f.slots[i]
	n := off - s.off
	low, high := slot{s.off, n, s.val.part(0, n), s.defs}, slot{off, s.size - n, s.val.part(n, s.size-n), s.defs}
	f.slots[i] = low
	f.slots = slices.Insert(f.slots, i+1, high)
}

// index returns the index of the first slot that ends after off.
func (f *frame) index(off int64) int {
	return sort.Search(len(f.slots), func(i int) bool { return f.slots[i].off+f.slots[i].size > off })
}

// write notes that def wrote val into all bytes from lo up to hi.
func (f *frame) write(lo, hi int64, val value, def int32) {
	if lo, hi = max(lo, f.low), min(hi, f.high); lo >= hi || f.lost || f.overflows() {
		return
	}
	f.cut(lo)
	f.cut(hi)
	if val.kind == number {
		val.id = 0 // ids are for registers
	}
	if val.kind == unknown && def == noDef {
		f.slots = slices.Delete(f.slots, f.index(lo), f.index(hi))
		return
	}
	f.slots = slices.Replace(f.slots, f.index(lo), f.index(hi), slot{lo, hi - lo, val, oneDef(def)})
}

// may notes that def may have written bytes from lo up to hi.
func (f *frame) may(lo, hi int64, def int32, sets *defSets) {
	if lo, hi = max(lo, f.low), min(hi, f.high); lo >= hi || f.lost || f.overflows() {
		return
	}
	f.cut(lo)
	f.cut(hi)
	i := f.index(lo)
	if def == noDef {
		f.slots = slices.Delete(f.slots, i, f.index(hi))
		return
	}
	for lo < hi {
		if i == len(f.slots) || f.slots[i].off > lo {
			end := hi
			if i < len(f.slots) {
				end = min(end, f.slots[i].off)
			}
			f.slots = slices.Insert(f.slots, i, slot{off: lo, size: end - lo, defs: oneDef(def)})
		} else {
			f.slots[i].val, f.slots[i].defs = value{}, sets.union(f.slots[i].defs, oneDef(def))
		}
		lo = f.slots[i].off + f.slots[i].size
		i++
	}
}

// forget forgets the values of the bytes from lo on, but not what wrote them.
func (f *frame) forget(lo int64) {
	for i := f.index(lo); i < len(f.slots); i++ {
		f.slots[i].val = value{}
	}
}

// mark notes that def got a pointer to off.
func (f *frame) mark(off int64, def int32, sets *defSets) {
	if def == noDef || off < f.low || off >= f.high || f.lost || f.overflows() {
		return
	}
	i := f.index(off)
	if i == len(f.slots) || f.slots[i].off > off {
		f.slots = slices.Insert(f.slots, i, slot{off: off, size: 1, defs: oneDef(def)})
		return
	}
	f.slots[i].defs = sets.union(f.slots[i].defs, oneDef(def))
}

// read returns the value of size bytes at off.
func (f *frame) read(off, size int64) value {
	i := f.index(off)
	if i == len(f.slots) {
		return value{}
	}
	s := f.slots[i]
	switch {
	case s.off == off && s.size == size:
		return s.val
	case s.off <= off && s.off+s.size >= off+size:
		return s.val.part(off-s.off, size)
	}
	// Constants that several instructions wrote.
	var sum int64
	for end := off; end < off+size; i++ {
		if i == len(f.slots) || f.slots[i].off != end || !f.slots[i].val.isConstant() || end+f.slots[i].size > off+size {
			return value{}
		}
		sum |= int64(truncate(f.slots[i].val.min, f.slots[i].size)) << (8 * (end - off))
		end += f.slots[i].size
	}
	return constant(sum)
}

// defs returns the instructions that can have written last to bytes from lo up to hi, in order.
func (f *frame) defs(lo, hi int64, sets *defSets) (defs []int32) {
	var one [1]int32
	for i := f.index(lo); i < len(f.slots) && f.slots[i].off < hi; i++ {
		defs = append(defs, sets.members(f.slots[i].defs, &one)...)
	}
	slices.Sort(defs)
	return slices.Compact(defs)
}

// joinFrames returns what is true of a frame that is f on one path and o on another; f itself if that is what f
// says.
func (a *analysis) joinFrames(f, o *frame, widen bool) *frame {
	if f.lost {
		return f
	}
	if o.lost {
		return &frame{low: f.low, high: f.high, lost: true}
	}
	a.steps += (len(f.slots) + len(o.slots)) / slotsPerStep
	alike := func(x, y slot) bool { return x.off == y.off && x.size == y.size }
	if slices.EqualFunc(f.slots, o.slots, alike) {
		return a.joinAlike(f, o, widen)
	}
	if f.untracked() && o.untracked() {
		return a.common(f, o, widen)
	}
	a.steps += (len(f.slots) + len(o.slots)) / (slotsPerStep / 2)
	x, y := f.clone(), o.clone()
	x.fill(o)
	y.fill(x)
	x.fill(y)
	x = a.joinAlike(x, y, widen)
	x.overflows()
	if !x.lost && slices.Equal(x.slots, f.slots) {
		return f
	}
	return x
}

// untracked reports whether f does not say what wrote its slots.
func (f *frame) untracked() bool { return len(f.slots) == 0 || f.slots[0].defs == 0 }

// common is joinFrames for untracked frames: only what both know is left.
func (a *analysis) common(f, o *frame, widen bool) *frame {
	all := make([]slot, 0, min(len(f.slots), len(o.slots)))
	j := 0
	for _, s := range f.slots {
		for j < len(o.slots) && o.slots[j].off < s.off {
			j++
		}
		if j < len(o.slots) && o.slots[j].off == s.off && o.slots[j].size == s.size {
			if s.val = a.join(s.val, o.slots[j].val, widen); s.val.kind != unknown {
				all = append(all, s)
			}
		}
	}
	if slices.Equal(all, f.slots) {
		return f
	}
	return &frame{low: f.low, high: f.high, slots: all}
}

// fill splits the slots of f where those of o begin or end, and adds slots that nothing wrote where only o has
// some.
func (f *frame) fill(o *frame) {
	for _, s := range o.slots {
		f.cut(s.off)
		f.cut(s.off + s.size)
	}
	all := make([]slot, 0, len(f.slots)+len(o.slots))
	i := 0
	for _, s := range o.slots {
		for ; i < len(f.slots) && f.slots[i].off < s.off; i++ {
			all = append(all, f.slots[i])
		}
		if i == len(f.slots) || f.slots[i].off >= s.off+s.size {
			all = append(all, slot{off: s.off, size: s.size})
		}
	}
	f.slots = append(all, f.slots[i:]...)
}

// joinAlike is joinFrames for frames with slots at the same places.
func (a *analysis) joinAlike(f, o *frame, widen bool) *frame {
	same := true
	for i := range o.slots {
		was, s := &f.slots[i], o.slots[i]
		if *was == s {
			continue
		}
		s.val = a.join(was.val, s.val, widen)
		s.defs = a.defs.union(was.defs, s.defs)
		if *was == s {
			continue
		}
		if same {
			f, same = f.clone(), false
		}
		f.slots[i] = s
	}
	return f
}
