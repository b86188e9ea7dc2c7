package recordflow

import (
	"github.com/cilium/ebpf/asm"
)

// step applies the instruction at p to s. Jumps, and calls of the program's own functions, are for leave.
func (a *analysis) step(p place, s *state, ins *asm.Instruction) {
	op := ins.OpCode
	switch class := op.Class(); {
	case op.IsDWordLoad():
		s.regs[ins.Dst] = a.immediate(p, ins)
	case class == asm.ALU64Class || class == asm.ALUClass:
		s.regs[ins.Dst] = a.alu(p, s, ins)
	case class == asm.LdXClass:
		v := a.load(p, s, ins)
		if v.kind == number && v.id == 0 {
			v.id = s.fresh(p)
		}
		s.regs[ins.Dst] = v
	case class == asm.StXClass && op.Mode() != asm.MemMode:
		a.atomic(p, s, ins)
	case class == asm.StXClass || class == asm.StClass:
		a.store(p, s, ins)
	case class == asm.LdClass:
		s.regs[asm.R0] = value{}
	case isCall(ins):
		a.call(p, s, ins)
	}
}

// immediate returns the value that a load of a 64-bit immediate yields. In the kernel's dump of a program, the
// immediate of a map is the map's id (kernel/bpf/syscall.c, bpf_insn_prepare_dump), and that of a function is
// the distance to it (kernel/bpf/verifier.c, jit_subprogs).
func (a *analysis) immediate(p place, ins *asm.Instruction) value {
	id, off := uint32(ins.Constant), int64(uint64(ins.Constant)>>32)
	switch ins.Src {
	case asm.PseudoMapFD:
		return a.pointerTo(objectKey{kind: mapItself, m: id})
	case asm.PseudoMapValue:
		v := a.pointerTo(objectKey{kind: variable, m: id})
		v.min, v.max = off, off
		return v
	case asm.PseudoFunc:
		return value{kind: address, min: int64(p.ins) + 1 + int64(int32(ins.Constant))}
	case 0:
		return constant(ins.Constant)
	}
	return value{}
}

// load returns the value that a load from memory yields.
func (a *analysis) load(p place, s *state, ins *asm.Instruction) value {
	from, size := s.regs[ins.Src], int64(ins.OpCode.Size().Sizeof())
	var v value
	a.noteRead(p, s, from.plus(int64(ins.Offset)), access{size: size, max: size})
	if from.kind == pointer && from.min == from.max && ins.OpCode.Mode() == asm.MemMode {
		switch o := a.objects[from.id]; o.kind {
		case mapSlot:
			if size == 8 {
				return a.inSlot(p, s, o.m)
			}
		case stack, record, element:
			if f := s.known(from.id); f != nil {
				v = f.read(from.min+int64(ins.Offset), size)
			}
		}
	}
	if v.kind == unknown && size < 8 && ins.OpCode.Mode() == asm.MemMode {
		return value{kind: number, max: 1<<(8*size) - 1}
	}
	return v
}

// store applies a store of a register or an immediate.
func (a *analysis) store(p place, s *state, ins *asm.Instruction) {
	v, size := constant(ins.Constant), int64(ins.OpCode.Size().Sizeof())
	if ins.OpCode.Class() == asm.StXClass {
		v = s.regs[ins.Src]
		a.leak(v, s.regs[ins.Dst])
	}
	if size < 8 {
		v = v.part(0, size)
	}
	to := s.regs[ins.Dst].plus(int64(ins.Offset))
	if from, ok := a.movedFrom(p, s, to); ok {
		a.noteCopy(s, from, to, size)
	}
	a.write(p, s, to, access{size: size, max: size, val: v})
}

// atomic applies an atomic operation.
func (a *analysis) atomic(p place, s *state, ins *asm.Instruction) {
	size := int64(ins.OpCode.Size().Sizeof())
	a.leak(s.regs[ins.Src], s.regs[ins.Dst])
	if ins.Constant != loadAcquire {
		a.write(p, s, s.regs[ins.Dst].plus(int64(ins.Offset)), access{size: size, max: size})
	}
	switch {
	case ins.Constant == loadAcquire:
		s.regs[ins.Dst] = value{}
	case ins.Constant == cmpxchg:
		s.regs[asm.R0] = value{}
	case ins.Constant&fetch != 0:
		s.regs[ins.Src] = value{}
	}
}

// Atomic operations that change a register (include/uapi/linux/bpf.h): BPF_FETCH, BPF_CMPXCHG and BPF_LOAD_ACQ.
const (
	fetch       = 0x01
	cmpxchg     = 0xf1
	loadAcquire = 0x100
)

// plus returns v, a pointer, moved by n.
func (v value) plus(n int64) value {
	moved := sum(v, constant(n))
	v.min, v.max = moved.min, moved.max
	return v
}

// leak notes that pointer v is stored where to points. On the stack it is not lost.
func (a *analysis) leak(v, to value) {
	if v.kind != pointer || a.notes == nil || a.is(to, stack) {
		return
	}
	a.escape(v)
}

// escape notes that a pointer gets to code that cannot be followed.
func (a *analysis) escape(v value) {
	if a.notes == nil {
		return
	}
	for _, id := range a.members(v) {
		a.objects[id].escapes = true
	}
}

// access is a write of size bytes, 0 if that is not constant, and of max bytes at most.
type access struct {
	size, max int64 // max is negative if unknown
	val       value
	by        string
	arg       asm.Register // the register that has the address, if a helper writes; R0 if that is not known
	partial   bool         // what is written can be shorter
}

// write applies a write to where to points.
func (a *analysis) write(p place, s *state, to value, w access) {
	if to.kind != pointer {
		return
	}
	ids := a.members(to)
	for _, id := range ids {
		if f := a.memory(s, id); f != nil {
			a.apply(f, to, w, a.def(p, id), len(ids) == 1)
			a.forgetOthers(s, id)
		}
		if a.notes != nil {
			a.note(p, id, to, w)
		}
	}
}

// def returns a number for the instruction at p, which writes to object id; noDef if that does not matter.
func (a *analysis) def(p place, id int32) int32 {
	if a.objects[id].kind == stack && !a.scope.stack {
		return noDef
	}
	return p.def()
}

// apply applies a write by def to where to points, which is in f if there is only one memory there.
func (a *analysis) apply(f *frame, to value, w access, def int32, only bool) {
	end := min(w.max, maxMemory)
	if w.max < 0 {
		end = maxMemory
	}
	switch {
	case only && to.min == to.max && w.size > 0 && !w.partial:
		f.write(to.min, to.min+min(w.size, maxMemory), w.val, def)
	case to.min < f.low || to.max > f.high:
		f.may(f.low, f.high, def, &a.defs)
	default:
		f.may(to.min, to.max+end, def, &a.defs)
	}
}

// forgetOthers forgets the values in what can be the memory of object id under another id: the elements of a map
// that several lookups found.
func (a *analysis) forgetOthers(s *state, id int32) {
	o := a.objects[id]
	if o.kind != element {
		return
	}
	for i := range s.mem {
		other := a.objects[s.mem[i].id]
		if other.kind == element && other.m == o.m && other != o {
			a.memory(s, s.mem[i].id).forget(0)
		}
	}
}
