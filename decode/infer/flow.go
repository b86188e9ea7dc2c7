package infer

import (
	"maps"

	"github.com/cilium/ebpf/asm"
)

// value is what is known about the contents of a register.
type value struct {
	kind valueKind
	id   uint32 // map id, index of the call, or number of the argument, depending on kind
	off  int64  // offset in bytes; the value itself if kind is constant
}

type valueKind uint8

const (
	unknown   valueKind = iota
	constant            // off
	mapItself           // the map id
	mapValue            // off bytes into the only value of map id: global variables
	mapInside           // somewhere in an element of map id
	stack               // off bytes from the frame pointer
	record              // off bytes into the record that call id reserved
	argument            // off bytes into the memory that the function's argument id points to
)

// state is what is known about registers and stack before an instruction.
type state struct {
	regs  [16]value      // an instruction has 4 bits for a register
	stack map[int64]slot // by offset from the frame pointer; slots do not overlap
}

// slot is a store to the stack.
type slot struct {
	size int64
	val  value
}

func (s *state) clone() *state { return &state{s.regs, maps.Clone(s.stack)} }

// join reduces s to what is true in both s and o, where two paths through the program meet. It reports whether
// s changed.
func (s *state) join(o *state) (changed bool) {
	for i := range s.regs {
		if v := joined(s.regs[i], o.regs[i]); v != s.regs[i] {
			s.regs[i], changed = v, true
		}
	}
	for off, sl := range s.stack {
		other, ok := o.stack[off]
		if !ok || other.size != sl.size {
			delete(s.stack, off)
			changed = true
		} else if v := joined(sl.val, other.val); v != sl.val {
			s.stack[off] = slot{sl.size, v}
			changed = true
		}
	}
	return changed
}

// joined returns what is known of a register that holds a on one path and b on another. If one is NULL and the
// other a pointer, it returns the pointer.
func joined(a, b value) value {
	null := value{kind: constant}
	switch {
	case a == b:
		return a
	case a == null && b.kind > constant:
		return b
	case b == null && a.kind > constant:
		return a
	}
	return value{}
}

// store sets the stack slot of size bytes at off from the frame pointer to v.
func (s *state) store(off, size int64, v value) {
	s.forget(off, off+size)
	if s.stack == nil {
		s.stack = map[int64]slot{}
	}
	s.stack[off] = slot{size, v}
}

// forget drops the stack slots that overlap the bytes from lo up to hi, relative to the frame pointer.
func (s *state) forget(lo, hi int64) {
	for off, sl := range s.stack {
		if off < hi && off+sl.size > lo {
			delete(s.stack, off)
		}
	}
}

// step applies an instruction to s. The caller handles calls and jumps.
func (p *program) step(s *state, ins *asm.Instruction) {
	op := ins.OpCode
	switch class := op.Class(); {
	case op.IsDWordLoad():
		s.regs[ins.Dst] = loaded(ins)
	case class == asm.ALU64Class || class == asm.ALUClass:
		s.regs[ins.Dst] = p.alu(s, ins)
	case class == asm.LdXClass:
		s.regs[ins.Dst] = p.load(s, ins)
	case class == asm.StXClass && op.Mode() != asm.MemMode:
		if to := s.regs[ins.Dst]; to.kind == stack { // atomic
			s.forget(to.off+int64(ins.Offset), to.off+int64(ins.Offset)+8)
		}
		if ins.Constant&fetch != 0 {
			s.regs[ins.Src] = value{}
			s.regs[asm.R0] = value{} // cmpxchg
		}
	case class == asm.StXClass || class == asm.StClass:
		if to := s.regs[ins.Dst]; to.kind == stack {
			s.store(to.off+int64(ins.Offset), int64(op.Size().Sizeof()), stored(s, ins))
		}
	case class == asm.LdClass:
		s.regs[asm.R0] = value{}
	}
}

// fetch is BPF_FETCH, include/uapi/linux/bpf.h.
const fetch = 1

// stored returns the value that a store writes.
func stored(s *state, ins *asm.Instruction) value {
	if ins.OpCode.Class() == asm.StClass {
		return value{kind: constant, off: ins.Constant}
	}
	return s.regs[ins.Src]
}

// loaded returns the value that a load of a 64-bit immediate yields. In the kernel's dump of a program, the
// immediate of a map is the map's id (kernel/bpf/syscall.c, bpf_insn_prepare_dump).
func loaded(ins *asm.Instruction) value {
	id, off := uint32(ins.Constant), int64(uint64(ins.Constant)>>32)
	switch ins.Src {
	case asm.PseudoMapFD:
		return value{kind: mapItself, id: id}
	case asm.PseudoMapValue:
		return value{kind: mapValue, id: id, off: off}
	case 0:
		return value{kind: constant, off: ins.Constant}
	}
	return value{}
}

func (p *program) alu(s *state, ins *asm.Instruction) value {
	src := value{kind: constant, off: ins.Constant}
	if ins.OpCode.Source() == asm.RegSource {
		src = s.regs[ins.Src]
	}
	wide := ins.OpCode.Class() == asm.ALU64Class
	switch dst := s.regs[ins.Dst]; ins.OpCode.ALUOp() {
	case asm.Mov:
		switch {
		case wide && (ins.Offset == 0 || ins.Offset == percpu):
			return src
		case src.kind == constant && ins.Offset == 0:
			return value{kind: constant, off: int64(uint32(src.off))}
		}
	case asm.Add:
		switch {
		case !wide:
		case dst.kind == mapItself || dst.kind == mapInside:
			return value{kind: mapInside, id: dst.id}
		case src.kind == mapItself || src.kind == mapInside:
			return value{kind: mapInside, id: src.id}
		case src.kind == constant && dst.kind != unknown:
			return value{dst.kind, dst.id, dst.off + src.off}
		case dst.kind == constant && src.kind != unknown:
			return value{src.kind, src.id, dst.off + src.off}
		}
	}
	return value{}
}

// percpu is BPF_ADDR_PERCPU (include/linux/filter.h): the verifier emits a move with this offset to convert a
// per-CPU address to the address on the current CPU.
const percpu = -1

func (p *program) load(s *state, ins *asm.Instruction) value {
	from, size := s.regs[ins.Src], int64(ins.OpCode.Size().Sizeof())
	switch {
	case ins.OpCode.Mode() != asm.MemMode:
	case from.kind == stack:
		if sl, ok := s.stack[from.off+int64(ins.Offset)]; ok && sl.size == size {
			return sl.val
		}
	case from.kind == mapInside && size == 8 && p.isPerCPU(from.id):
		return from // loads the address of a per-CPU element, in a map lookup that the verifier inlined
	}
	return value{}
}

// afterCall forgets what a call can change: the argument registers, and the stack from each address that the
// callee received up to the frame pointer.
func (s *state) afterCall() {
	for r := asm.R1; r <= asm.R5; r++ {
		if v := s.regs[r]; v.kind == stack {
			s.forget(v.off, 0)
		}
		s.regs[r] = value{}
	}
}
