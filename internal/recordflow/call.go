package recordflow

import (
	"math"
	"strings"

	"github.com/cilium/ebpf/asm"
)

// How the name of a helper that the kernel hides was found.
const (
	ByLine      = "the kernel hides the helper; its source line names it"
	ByArguments = "the kernel hides the helper; its arguments identify it"
)

// call applies a call to s. If it is of one of the program's own functions, only the pointers that it gets are
// noted: called does the rest.
func (a *analysis) call(p place, s *state, ins *asm.Instruction) {
	if _, own := a.code.callee(p.ins); own {
		a.pass(p, s)
		return
	}
	var args [5]value
	copy(args[:], s.regs[1:])
	c := call{at: p, args: args}
	apply := a.helperCall
	switch {
	case ins.Src == asm.PseudoKfuncCall:
		apply = a.kfuncCall
		if name := helperIn(a.code.lineOf(p.ins).Text); knowsKfunc(name) {
			c.helperName = helperName{name, ByLine}
		}
	case ins.Src == 0:
		c.helperName = a.nameOf(p, ins, s)
		if a.isRing(args[0]) {
			apply = a.ringCall
		}
	}
	a.notePasses(p, args, &function{name: c.name}, c.name != "")
	ret := apply(c, s)
	s.forgetArguments()
	s.regs[asm.R0] = ret
}

// call is a call of a helper.
type call struct {
	helperName
	at   place
	args [5]value
}

// hidden reports whether the kernel hides the helper: its name is unknown or a guess.
func (c call) hidden() bool { return c.name == "" || c.how != "" }

// ringCall applies the call of a helper whose first argument is the ring.
func (a *analysis) ringCall(c call, s *state) value {
	a.noteSite(c, s)
	switch c.name {
	case query:
		return full
	case Output:
		return full
	case ReserveDynptr:
		d := a.reserved(c, s)
		d.kind = dynptr
		a.write(c.at, s, c.args[3], access{size: 16, max: 16, val: d})
		return full
	case DrainHelper:
		a.drain(c, s)
		return full
	}
	return a.reserved(c, s)
}

// reserved returns a pointer to the record that a call reserves.
func (a *analysis) reserved(c call, s *state) value {
	v := a.pointerTo(objectKey{kind: record, at: c.at})
	s.drop(v.id)
	a.memory(s, v.id)
	return v
}

// helperCall applies the call of a helper that does not get the ring.
func (a *analysis) helperCall(c call, s *state) value {
	first := c.args[0]
	switch e, fills := effects[c.name]; {
	case c.name == dynptrData, c.name == dynptrWrite, c.name == dynptrFromMem:
		return a.dynptrCall(c, s)
	case fills:
		size := a.fill(c, s, e)
		if c.name == dynptrRead {
			a.noteSampleCopy(c, s)
		}
		if strings.HasSuffix(c.name, "_str") {
			return a.returned64(c).within(-4095, size)
		}
	case lookups[c.name], c.name == nodeLookup, c.name == "" && (a.is(first, mapItself) || a.is(first, inner)):
		return a.lookup(c, s)
	case endings[c.name] != noRecord:
		a.end(c, s)
	case c.name == "":
		for _, v := range c.args {
			a.lose(c.at, s, v)
		}
		return value{}
	default:
		a.callback(c, s)
	}
	return a.returned64(c)
}

// returned64 returns the number that a helper returned.
func (a *analysis) returned64(c call) value {
	v := full
	v.by, v.width = a.originOf(c.name), 64
	v.id = int32(c.at.ins) + 1
	return v
}

// end applies the call of a helper that ends a record.
func (a *analysis) end(c call, s *state) {
	v := c.args[0]
	if a.is(v, stack) {
		v = a.throughDynptr(s, v, constant(0))
	}
	for _, id := range a.members(v) {
		o := a.objects[id]
		if endings[c.name] == submits && a.notes != nil && o.kind == record {
			o.submit(s.known(id), &a.defs)
		}
		if len(a.members(v)) == 1 {
			s.drop(id)
		}
	}
}

// submit notes that the record o is submitted when f is known of its memory.
func (o *object) submit(f *frame, sets *defSets) {
	o.ends = true
	if f == nil {
		o.lost = true
		return
	}
	if o.final == nil {
		o.final = map[int32]bool{}
	}
	for _, def := range f.defs(f.low, f.high, sets) {
		o.final[def] = true
	}
}

// fill applies the write of a helper that fills a buffer, and returns the buffer's size at most.
func (a *analysis) fill(c call, s *state, e effect) (size int64) {
	w := access{size: e.fixed, max: e.fixed, by: c.name, arg: asm.R1 + asm.Register(e.to), partial: e.partial}
	switch {
	case e.size >= 0:
		w.size, w.max = sizeOf(c.args[e.size])
	case e.fixed == 0:
		if ids := a.members(c.args[0]); len(ids) > 0 {
			w.size = int64(a.Maps[a.objects[ids[0]].m].ValueSize)
			w.max = w.size
		}
	}
	a.write(c.at, s, c.args[e.to], w)
	if w.max < 0 {
		return maxRecord
	}
	return w.max
}

// maxRecord is RINGBUF_MAX_RECORD_SZ (kernel/bpf/ringbuf.c).
const maxRecord = math.MaxUint32 / 4

// sizeOf returns the size that v is, 0 if it is not constant, and the most that it can be, -1 if unknown.
func sizeOf(v value) (size, most int64) {
	lo, hi := v.bounds()
	switch {
	case v.kind > number || hi < 0 || hi > maxRecord:
		return 0, -1
	case lo == hi:
		return lo, hi
	}
	return 0, hi
}

// lookup returns a pointer to the value of a map.
func (a *analysis) lookup(c call, s *state) value {
	ids := a.members(c.args[0])
	if len(ids) == 0 {
		return value{}
	}
	m := a.objects[ids[0]].m
	switch t := a.Maps[m].Type; {
	case a.objects[ids[0]].kind == inner:
		m = 0
	case isOuter(t) && (c.name == nodeLookup || c.hidden() && a.inlined(c.at)):
		return a.pointerTo(objectKey{kind: hashNode, m: m, at: c.at})
	case isOuter(t):
		return a.pointerTo(objectKey{kind: inner, m: m})
	case c.name == nodeLookup || c.hidden() && isHash(t) && a.inlined(c.at):
		return a.pointerTo(objectKey{kind: hashNode, m: m, at: c.at})
	}
	return a.elementOf(s, m, c.at)
}

// elementOf returns a pointer to the element of map m that the program finds at p: not always the same one.
func (a *analysis) elementOf(s *state, m uint32, p place) value {
	v := a.pointerTo(objectKey{kind: element, m: m, at: p})
	if s.known(v.id) != nil {
		a.memory(s, v.id).forget(0)
	}
	return v
}

// inlined reports whether the call at p belongs to a lookup in a hash table of which the verifier inlined the
// rest: if the result is not NULL, it is moved by the offset of the element (kernel/bpf/hashtab.c,
// htab_map_gen_lookup and the like).
func (a *analysis) inlined(p place) bool {
	const most, key = 6, 40 // instructions; offsetof(struct htab_elem, key), at least
	i := p.ins + 1
	if i >= len(a.code.at) || a.code.at[i] == nil {
		return false
	}
	test := a.code.at[i]
	if test.OpCode != asm.JEq.Op(asm.ImmSource) || test.Dst != asm.R0 || test.Constant != 0 || test.Offset < 1 || test.Offset > most {
		return false
	}
	for i++; i <= p.ins+1+int(test.Offset) && i < len(a.code.at) && a.code.at[i] != nil; i++ {
		ins := a.code.at[i]
		if ins.Source() != nil {
			return false
		}
		if ins.OpCode == asm.Add.Op(asm.ImmSource) && ins.Dst == asm.R0 && ins.Constant >= key {
			return true
		}
	}
	return false
}

// inSlot returns the pointer that a map has in a slot: to the element of a CPU, or to an inner map.
func (a *analysis) inSlot(p place, s *state, m uint32) value {
	if isOuter(a.Maps[m].Type) {
		return a.pointerTo(objectKey{kind: inner, m: m})
	}
	return a.elementOf(s, m, p)
}

// lose forgets what code that cannot be followed may change: the memory from v on.
func (a *analysis) lose(p place, s *state, v value) {
	for _, id := range a.members(v) {
		if a.objects[id].kind != stack {
			a.escape(v)
		}
		if f := a.memory(s, id); f != nil {
			f.forget(v.min)
			f.mark(v.min, a.def(p, id), &a.defs)
		}
	}
}

// forgetArguments forgets the registers that a call changes.
func (s *state) forgetArguments() {
	for r := asm.R0; r <= asm.R5; r++ {
		s.regs[r] = value{}
	}
}

// originOf returns the number that stands for a helper.
func (a *analysis) originOf(name string) uint16 {
	id, ok := a.originIDs[name]
	if !ok && len(a.origins) < 1<<16-1 {
		id = uint16(len(a.origins))
		a.origins = append(a.origins, name)
		a.originIDs[name] = id
	}
	return id
}
