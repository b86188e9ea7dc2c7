package recordflow

import (
	"cmp"
	"slices"
)

// drainNote is a call that takes samples out of a user ring.
type drainNote struct {
	at       place
	id       int32 // object of the sample
	callback int   // index of the function's first instruction
}

// sampleCopy is a part of a sample on the stack.
type sampleCopy struct {
	sample int32 // object
	stack  int32 // object
	shift  int64 // offset on the stack, less that in the sample
	end    int64 // of the part, in the sample
}

// drain follows the function that gets each sample of a user ring.
func (a *analysis) drain(c call, s *state) {
	n := &drainNote{at: c.at, id: a.object(objectKey{kind: sample, at: c.at}), callback: -1}
	if c.args[1].kind == address {
		n.callback = int(c.args[1].min)
		d := a.pointerTo(objectKey{kind: sampleDynptr, at: c.at})
		a.repeat(c, s, n.callback, [5]value{d, c.args[2]})
	}
	if a.notes != nil {
		a.notes.drains = append(a.notes.drains, n)
	}
}

// noteRead notes a read from where v points to, if that is a sample or a copy of it on the stack.
func (a *analysis) noteRead(p place, s *state, v value, r access) {
	if a.notes == nil || v.kind != pointer {
		return
	}
	for _, id := range a.members(v) {
		o := a.objects[id]
		switch {
		case o.kind == sample:
			o.reads = append(o.reads, noted{p, v.min, v.max, r})
		case o.kind == stack && v.min == v.max && len(a.notes.copies) > 0:
			for _, c := range a.copiesAt(s, id, v.min, v.min+r.max) {
				from := a.objects[c.sample]
				from.reads = append(from.reads, noted{p, v.min - c.shift, v.min - c.shift, r})
			}
		}
	}
}

// copiesAt returns the copies of samples on the stack, which is object id, between lo and hi.
func (a *analysis) copiesAt(s *state, id int32, lo, hi int64) (found []sampleCopy) {
	f := s.known(id)
	if f == nil {
		return nil
	}
	for _, def := range f.defs(lo, hi, &a.defs) {
		if c, ok := a.notes.copies[def]; ok && c.stack == id {
			found = append(found, c)
		}
	}
	return found
}

// noteSampleCopy notes the call of bpf_dynptr_read, if it reads from a sample.
func (a *analysis) noteSampleCopy(c call, s *state) {
	to, from := c.args[0], a.throughDynptr(s, c.args[2], c.args[3])
	r := access{by: c.name}
	r.size, r.max = sizeOf(c.args[1])
	a.noteRead(c.at, s, from, r)
	if a.notes != nil && a.is(from, sample) && a.is(to, stack) && to.min == to.max && from.min == from.max {
		a.notes.copies[c.at.def()] = sampleCopy{from.id, to.id, to.min - from.min, from.min + r.max}
	}
}

// drains returns the facts of the calls that take samples.
func (a *analysis) drains() (all []*Drain) {
	for _, n := range a.notes.drains {
		d := &Drain{Ins: n.at.ins, Func: n.at.ctx.fn.name, Line: a.code.lineOf(n.at.ins)}
		if fn := a.code.funcs[n.callback]; fn != nil {
			d.Callback = fn.name
		}
		f := &found{Site: &Site{}, analysis: a}
		o := a.objects[n.id]
		f.add(o, o.reads, o.passes, 0, -1)
		for _, c := range a.notes.copies {
			if c.sample == n.id {
				f.add(a.objects[c.stack], nil, a.objects[c.stack].passes, c.shift, c.end)
			}
		}
		f.finish()
		d.Reads, d.Passes = f.Writes, f.Passes
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(x, y *Drain) int { return cmp.Compare(x.Ins, y.Ins) })
	return all
}
