package recordflow

import (
	"cmp"
	"iter"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// sites returns the sites of the notes. Sites that differ only in how the program comes to the call, or in where it lies
// among the instructions, are one.
func (a *analysis) sites() (all []*Site) {
	notes := slices.Clone(a.notes.sites)
	slices.SortStableFunc(notes, func(x, y *siteNote) int { return cmp.Compare(x.at.ins, y.at.ins) })
	for _, n := range notes {
		s := a.site(n)
		recent := all[max(0, len(all)-recentSites):]
		if i := slices.IndexFunc(recent, s.like); i < 0 {
			all = append(all, s)
		} else if recent[i].Ins != s.Ins {
			recent[i].More++
		}
	}
	return all
}

// recentSites is with how many sites one is compared.
const recentSites = 16

// like reports whether s and o have the same records, of calls in the same line, which the same instructions write.
func (s *Site) like(o *Site) bool {
	return s.Line == o.Line && s.Func == o.Func && s.Call == o.Call && s.How == o.How && s.Min == o.Min && s.Max == o.Max &&
		s.Escapes == o.Escapes && slices.Equal(s.Data, o.Data) &&
		slices.EqualFunc(s.Writes, o.Writes, func(x, y Write) bool {
			x.Ins, y.Ins = x.Ins-s.Ins, y.Ins-o.Ins
			return x == y
		}) && slices.EqualFunc(s.Passes, o.Passes, func(x, y Pass) bool {
		x.Ins, y.Ins = x.Ins-s.Ins, y.Ins-o.Ins
		return x == y
	})
}

// site returns the facts of a note.
func (a *analysis) site(n *siteNote) *Site {
	s := &Site{Ins: n.at.ins, Func: n.at.ctx.fn.name, Call: n.name, How: n.how, Line: a.code.lineOf(n.at.ins)}
	switch n.name {
	case Reserve, ReserveDynptr, Output:
	default:
		s.Call = ""
	}
	s.Min, s.Max = n.size.bounds()
	if _, s.Max = sizeOf(n.size); s.Max < 0 || s.Min < 0 {
		s.Min = 0
	}
	for c := n.at.ctx; c.parent != nil; c = c.parent {
		s.Callers = append(s.Callers, Caller{c.call, c.parent.fn.name, a.code.lineOf(c.call)})
	}
	f := &found{Site: s, analysis: a}
	if n.data == nil {
		o := a.objects[n.id]
		f.add(o, o.writes, o.passes, 0, -1)
		for i := range f.writes {
			w := &f.writes[i]
			w.Over = o.ends && !o.lost && !f.Escapes && w.Off >= 0 && !o.final[w.at.def()]
		}
	}
	for _, d := range n.data {
		f.Data = append(f.Data, a.describe(d))
		f.Data = append(f.Data, a.throughArguments(n.at.ctx, d)...)
		f.addData(d)
	}
	for _, d := range n.copies {
		f.addCopy(d)
	}
	f.finish()
	return s
}

// found collects the facts of a site.
type found struct {
	*Site
	analysis *analysis
	writes   []foundWrite
	passes   []foundPass
}

type foundWrite struct {
	at place
	Write
}

type foundPass struct {
	at place
	Pass
}

// addData adds what is written into memory that is copied into the record.
func (f *found) addData(d dataNote) {
	if d.id == noObject {
		return
	}
	o := f.analysis.objects[d.id]
	if d.from.min != d.from.max || d.to.min != d.to.max {
		f.Escapes = true // written somewhere in the record
		return
	}
	for id, defs := range d.last {
		o := f.analysis.objects[id]
		last := func(p place) bool { _, ok := slices.BinarySearch(defs, p.def()); return ok }
		writes := slices.DeleteFunc(slices.Clone(o.writes), func(w noted) bool { return !last(w.at) })
		passes := slices.DeleteFunc(slices.Clone(o.passes), func(p notedPass) bool { return !last(p.at) })
		f.add(o, writes, passes, d.from.min-d.to.min, d.size)
	}
	switch {
	case o.kind == stack && (o.lost || !f.analysis.scope.stack):
		f.Escapes = true
	case len(d.last) > 0:
	case o.kind == element, o.kind == variable:
		f.add(o, f.analysis.valueWrites(o.m), o.passes, d.from.min-d.to.min, d.size)
	case o.kind != stack:
		f.add(o, o.writes, o.passes, d.from.min-d.to.min, d.size)
	}
}

// addCopy adds what is written into memory of which the program copies a part into the record. What gets a pointer to that
// memory says something of the record only if the copy is all of it.
func (f *found) addCopy(d dataNote) {
	passes, writes, escapes := f.passes, len(f.writes), f.Escapes
	whole := d.to.min == 0 && d.to.max == 0 && f.Min == f.Max && d.size == f.Max
	if d.size >= 0 {
		d.size += d.to.min
	}
	f.addData(d)
	if !whole {
		f.passes = passes
	}
	if f.analysis.is(d.from, stack) {
		f.Escapes = escapes // the program copies it with stores of its own
		for i := range f.writes[writes:] {
			w := &f.writes[writes+i]
			w.Moved = true
			if left := d.size - w.Off; w.Off >= 0 && left < w.Size {
				w.Size, w.Max = left, left
			}
		}
	}
}

// add adds writes and passes of an object that has the record from start on, and no more than size bytes of it
// if that is not negative.
func (f *found) add(o *object, writes []noted, passes []notedPass, start, size int64) {
	f.Escapes = f.Escapes || o.escapes
	f.writes = slices.Grow(f.writes, len(writes))
	for _, n := range writes {
		for w := range f.analysis.facts(n, start, size) {
			f.writes = append(f.writes, foundWrite{n.at, w})
		}
	}
	for _, n := range passes {
		off := n.lo - start
		if n.lo != n.hi {
			off = -1
		} else if off < 0 || size >= 0 && off >= size {
			continue
		}
		f.Escapes = f.Escapes || n.lost
		f.passes = append(f.passes, foundPass{n.at, Pass{
			Ins: n.at.ins, Line: f.analysis.code.lineOf(n.at.ins), Func: n.fn, Arg: n.arg, Param: n.param, Off: off,
		}})
	}
}

// finish puts the facts into the order of the program.
func (f *found) finish() {
	slices.SortStableFunc(f.writes, func(x, y foundWrite) int {
		return cmp.Or(compare(x.at, y.at), cmp.Compare(x.Off, y.Off))
	})
	slices.SortStableFunc(f.passes, func(x, y foundPass) int { return compare(x.at, y.at) })
	f.Writes, f.Passes = make([]Write, 0, len(f.writes)), make([]Pass, 0, len(f.passes))
	for _, w := range f.writes {
		f.Writes = appendNew(f.Writes, w.Write)
	}
	for _, p := range f.passes {
		f.Passes = appendNew(f.Passes, p.Pass)
	}
}

// appendNew appends v to all if it is not there among the last.
func appendNew[T comparable](all []T, v T) []T {
	const recent = 64
	if slices.Contains(all[max(0, len(all)-recent):], v) {
		return all
	}
	return append(all, v)
}

// facts yields what fact returns: for a write that can be of one of several constants, one for each.
func (a *analysis) facts(n noted, start, size int64) iter.Seq[Write] {
	return func(yield func(Write) bool) {
		if n.by != "" || n.val.set == 0 {
			if w, ok := a.fact(n, start, size); ok {
				a.joined(w, yield)
			}
			return
		}
		for _, c := range a.constantsOf(n.val) {
			n.val = constant(c)
			if w, ok := a.fact(n, start, size); ok && !yield(w) {
				return
			}
		}
	}
}

// joined yields a write as one for each line that computed its value on some path, if the compiler made it of the
// stores of several paths: it has no line of its own then.
func (a *analysis) joined(w Write, yield func(Write) bool) {
	var lines []Line
	if w.By == "" && !w.Constant && w.Off >= 0 && w.Computed == (Line{}) && a.code.at[w.Ins].Source() == nil {
		lines = a.code.computedOnPaths(w.Ins)
	}
	if len(lines) == 0 {
		yield(w)
	}
	w.Joined = len(lines) > 0
	for _, w.Computed = range lines {
		if !yield(w) {
			return
		}
	}
}

// fact returns a write as one into a record that begins at start of the object. ok is false if the write is not
// into the record, which has size bytes if that is not negative.
func (a *analysis) fact(n noted, start, size int64) (w Write, ok bool) {
	w = Write{
		Ins: n.at.ins, Func: n.at.ctx.fn.name, Line: a.code.lineOf(n.at.ins),
		Off: n.lo - start, Size: n.size, Max: max(n.max, 0), By: n.by,
	}
	if n.lo != n.hi {
		w.Off, w.Least = -1, max(w.Off, 0)
		return w, true
	}
	if size >= 0 && w.Off >= size || w.Off < 0 && w.Off+w.Max <= 0 {
		return w, false
	}
	if w.Off < 0 { // it begins before the record
		w.Size, w.Max, w.Off = max(w.Size+w.Off, 0), w.Max+w.Off, 0
		return w, true
	}
	v := n.val
	switch {
	case n.by == "":
		w.Computed, w.Bits = a.code.computedAt(n.at.ins), a.code.joinsBits(n.at.ins)
	case n.arg != asm.R0:
		w.Computed = a.code.argumentAt(n.at.ins, n.arg)
	}
	switch {
	case n.by != "" || v.kind != number:
	case v.isConstant() && w.Size > 0 && w.Size <= 8:
		w.Const, w.Constant = truncate(v.min, w.Size), true
	case v.left == 0 && v.by != 0:
		w.From = Origin{a.origins[v.by], v.shift, min(v.width, uint8(8*min(w.Size, 8)))}
	}
	return w, true
}

// describe says what the memory of a note is.
func (a *analysis) describe(d dataNote) Data {
	o := a.objects[d.id]
	data := Data{Off: d.from.min}
	if d.from.min != d.from.max {
		data.Off = -1
	}
	switch o.kind {
	case variable:
		data.Kind, data.Map = Variable, o.m
	case element:
		data.Kind, data.Map = Element, o.m
	case stack:
		data.Kind = Stack
	case programContext:
		data.Kind = Context
	case argument:
		return argumentData(o.at.ctx, o.n, data.Off)
	}
	return data
}

// argumentData describes what argument n of the function in c points to.
func argumentData(c *callContext, n int, off int64) Data {
	d := Data{Kind: Argument, Func: c.fn.name, Off: off}
	if n < len(c.fn.params) {
		d.Param = &c.fn.params[n]
	}
	return d
}

// throughArguments returns the arguments of the functions in c and its callers that point to the memory of d, or
// to what it is a part of.
func (a *analysis) throughArguments(c *callContext, d dataNote) (all []Data) {
	for ; c.parent != nil; c = c.parent {
		for i, v := range c.nodes[c.start].before.regs[1:6] {
			off := d.from.min - v.min
			if v.kind == pointer && v.id == d.id && v.min == v.max && d.from.min == d.from.max && off >= 0 {
				all = append(all, argumentData(c, i, off))
			}
		}
	}
	return all
}

// valueWrites returns all writes into the value of a map.
func (a *analysis) valueWrites(m uint32) (all []noted) {
	for _, o := range a.objects {
		if (o.kind == element || o.kind == variable) && o.m == m && m != 0 {
			all = append(all, o.writes...)
		}
	}
	return all
}

// compare compares two places by where the program comes to them, as a reader who follows each call.
func compare(x, y place) int {
	if x.ctx == y.ctx {
		return cmp.Compare(x.ins, y.ins)
	}
	for x.ctx.depth > y.ctx.depth && x.ctx.parent != nil {
		if x = (place{x.ctx.parent, x.ctx.call}); x.ctx == y.ctx {
			return cmp.Or(cmp.Compare(x.ins, y.ins), 1)
		}
	}
	for y.ctx.depth > x.ctx.depth && y.ctx.parent != nil {
		if y = (place{y.ctx.parent, y.ctx.call}); x.ctx == y.ctx {
			return cmp.Or(cmp.Compare(x.ins, y.ins), -1)
		}
	}
	for x.ctx != y.ctx && x.ctx.parent != nil && y.ctx.parent != nil {
		x, y = place{x.ctx.parent, x.ctx.call}, place{y.ctx.parent, y.ctx.call}
	}
	return cmp.Or(cmp.Compare(x.ctx.id, y.ctx.id), cmp.Compare(x.ins, y.ins))
}
