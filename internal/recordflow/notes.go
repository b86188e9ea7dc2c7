package recordflow

import (
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// notes are what the instructions do, in the states that follow computed.
type notes struct {
	sites  []*siteNote
	drains []*drainNote
	copies map[int32]sampleCopy // parts of samples, by what copied them to the stack
	// reserving has the sites by the object that they reserve.
	reserving map[int32][]*siteNote
}

// siteNote is a call that puts records into the ring.
type siteNote struct {
	call
	id     int32 // object of the record, for a reservation
	size   value
	data   []dataNote
	copies []dataNote // what bpf_dynptr_write, or pairs of load and store, copy into the record
}

// dataNote is memory that is copied into a record.
type dataNote struct {
	id   int32 // object
	from value // where in the object
	to   value // where in the record
	size int64 // the most that is copied, -1 if unknown
	// last has the writes to what is copied that are not overwritten, by object: an element of a map can be known
	// by the id of another lookup as well.
	last map[int32][]int32
}

// noted is a write to an object, between lo and hi if it is not constant where.
type noted struct {
	at     place
	lo, hi int64
	access
}

// notedPass is a pointer into an object that a call gets.
type notedPass struct {
	at     place
	lo, hi int64
	fn     string
	arg    int
	param  *btf.FuncParam
	lost   bool // the call cannot be followed
}

// collect visits all instructions in the states that follow computed, and notes what they do.
func (a *analysis) collect() {
	a.notes = &notes{copies: map[int32]sampleCopy{}, reserving: map[int32][]*siteNote{}}
	for _, c := range a.contexts {
		var nodes []*node
		for _, n := range c.nodes {
			nodes = append(nodes, n)
		}
		slices.SortFunc(nodes, func(x, y *node) int { return x.start - y.start })
		for _, n := range nodes {
			a.block(n)
		}
	}
}

// note notes a write to an object.
func (a *analysis) note(p place, id int32, to value, w access) {
	o := a.objects[id]
	o.writes = append(o.writes, noted{p, to.min, to.max, w})
}

// pass notes the pointers that a call of one of the program's functions gets.
func (a *analysis) pass(p place, s *state) {
	target, _ := a.code.callee(p.ins)
	var args [5]value
	copy(args[:], s.regs[asm.R1:])
	for _, v := range args {
		for _, id := range a.members(v) {
			if f := a.memory(s, id); f != nil && v.min == v.max {
				f.mark(v.min, a.def(p, id), &a.defs)
			}
		}
	}
	a.notePasses(p, args, a.code.funcs[target], a.contextOf(a.current, p.ins, target) != nil)
}

// notePasses notes the pointers among the arguments of a call of fn.
func (a *analysis) notePasses(p place, args [5]value, fn *function, followed bool) {
	if a.notes == nil {
		return
	}
	for i, v := range args {
		if v.kind != pointer {
			continue
		}
		n := notedPass{at: p, lo: v.min, hi: v.max, fn: fn.name, arg: i, lost: !followed}
		if i < len(fn.params) {
			n.param = &fn.params[i]
		}
		for _, id := range a.members(v) {
			a.objects[id].passes = append(a.objects[id].passes, n)
		}
	}
}

// noteSite notes the call of a helper that gets the ring, if it produces records.
func (a *analysis) noteSite(c call, s *state) {
	if a.notes == nil || c.name == query || c.name == DrainHelper {
		return
	}
	n := &siteNote{call: c, id: a.object(objectKey{kind: record, at: c.at}), size: c.args[1]}
	if c.name == Output {
		n.id, n.size = noObject, c.args[2]
		_, most := sizeOf(n.size)
		n.data = a.dataNotes(s, c.args[1], value{kind: number}, most)
		if n.data == nil {
			n.data = []dataNote{{}}
		}
	}
	a.notes.sites = append(a.notes.sites, n)
	if n.id != noObject {
		a.notes.reserving[n.id] = append(a.notes.reserving[n.id], n)
	}
}

// noteCopy notes that the program copies memory from where one pointer points to where the other does.
func (a *analysis) noteCopy(s *state, from, to value, size int64) {
	if a.notes == nil {
		return
	}
	for _, id := range a.members(to) {
		for _, site := range a.notes.reserving[id] {
			for _, d := range a.dataNotes(s, from, to, size) {
				site.addCopy(d)
			}
		}
	}
}

// maxCopies bounds the copies into a record.
const maxCopies = 64

// addCopy adds what is copied into the record. Parts of one copy are one.
func (n *siteNote) addCopy(d dataNote) {
	for i := range n.copies {
		if n.copies[i].extend(d) {
			return
		}
	}
	if len(n.copies) < maxCopies {
		n.copies = append(n.copies, d)
	}
}

// extend adds another part of the same copy, and reports whether it is one.
func (d *dataNote) extend(o dataNote) bool {
	known := func(n dataNote) bool { return n.from.min == n.from.max && n.to.min == n.to.max && n.size >= 0 }
	if d.id != o.id || !known(*d) || !known(o) || d.from.min-d.to.min != o.from.min-o.to.min {
		return false
	}
	end := max(d.to.min+d.size, o.to.min+o.size)
	if o.to.min < d.to.min {
		d.from, d.to = o.from, o.to
	}
	d.size = end - d.to.min
	for id, defs := range o.last {
		all := slices.Concat(d.last[id], defs)
		slices.Sort(all)
		d.last[id] = slices.Compact(all)
	}
	return true
}

// dataNotes returns notes of the memory that from points to, which is copied to to.
func (a *analysis) dataNotes(s *state, from, to value, size int64) (all []dataNote) {
	for _, id := range a.members(from) {
		n := dataNote{id: id, from: from, to: to, size: size, last: map[int32][]int32{}}
		o := a.objects[id]
		for _, m := range s.mem {
			other := a.objects[m.id]
			if m.lost || other != o && (o.kind != element || other.kind != element || other.m != o.m || o.m == 0) {
				continue
			}
			end := m.high
			if size >= 0 {
				end = min(from.min+size, m.high)
			}
			if defs := m.defs(from.min, end, &a.defs); len(defs) > 0 {
				n.last[m.id] = defs
			}
		}
		all = append(all, n)
	}
	return all
}
