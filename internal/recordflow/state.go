package recordflow

import (
	"cmp"
	"math"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// state is what is known about registers and memory before an instruction.
type state struct {
	regs [16]value // an instruction has 4 bits for a register
	mem  []memory  // in the order of the ids
}

// memory is the memory of an object.
type memory struct {
	id int32
	*frame
	own bool // no other state has the frame
}

// maxMemories bounds the objects whose memory a state knows.
const maxMemories = 32

// clone returns a copy of s.
func (s *state) clone() *state {
	for i := range s.mem {
		s.mem[i].own = false
	}
	return &state{regs: s.regs, mem: slices.Clone(s.mem)}
}

// copy makes s a copy of o, in the memory that s has.
func (s *state) copy(o *state) {
	for i := range o.mem {
		o.mem[i].own = false
	}
	clear(s.mem)
	s.regs, s.mem = o.regs, append(s.mem[:0], o.mem...)
}

// find returns the index of the memory of object id, or where it belongs.
func (s *state) find(id int32) (i int, ok bool) {
	return slices.BinarySearchFunc(s.mem, id, func(m memory, id int32) int { return cmp.Compare(m.id, id) })
}

// known returns what is known of the memory of object id, not to be changed; nil if nothing is.
func (s *state) known(id int32) *frame {
	if i, ok := s.find(id); ok && !s.mem[i].lost {
		return s.mem[i].frame
	}
	return nil
}

// memory returns the memory of object id in s, to be changed. It is nil for an object whose memory is not
// followed.
func (a *analysis) memory(s *state, id int32) *frame {
	i, ok := s.find(id)
	if !ok {
		f := a.newFrame(id)
		if f == nil {
			return nil
		}
		if len(s.mem) >= maxMemories {
			a.objects[id].lost = true
			return nil
		}
		s.mem = slices.Insert(s.mem, i, memory{id, f, true})
	}
	if !s.mem[i].own {
		a.steps += len(s.mem[i].slots) / slotsPerStep
		s.mem[i].frame, s.mem[i].own = s.mem[i].clone(), true
	}
	return s.mem[i].frame
}

// newFrame returns the memory of object id of which nothing is known yet, nil if it is not followed.
func (a *analysis) newFrame(id int32) *frame {
	switch o := a.objects[id]; {
	case o.kind == stack:
		return &frame{low: -maxStack}
	case o.kind == record, a.maps[o.m] && (o.kind == element || o.kind == variable):
		return &frame{high: maxMemory}
	}
	return nil
}

// drop forgets the memory of object id.
func (s *state) drop(id int32) {
	if i, ok := s.find(id); ok {
		s.mem = slices.Delete(s.mem, i, i+1)
	}
}

// merge reduces s to what is true in both s and o, where two paths through the program meet. It reports whether
// s changed.
func (a *analysis) merge(s, o *state, widen bool) (changed bool) {
	for i := range s.regs {
		if v := a.join(s.regs[i], o.regs[i], widen); v != s.regs[i] {
			s.regs[i], changed = v, true
		}
	}
	return a.mergeMemory(s, o, widen) || changed
}

// mergeMemory is merge for the memory of s. Memory that only one path knows is as that path knows it.
func (a *analysis) mergeMemory(s, o *state, widen bool) (changed bool) {
	for j := range o.mem {
		m := &o.mem[j]
		i, ok := s.find(m.id)
		switch {
		case !ok && len(s.mem) >= maxMemories:
			a.objects[m.id].lost = true
		case !ok:
			m.own = false
			s.mem, changed = slices.Insert(s.mem, i, *m), true
		case ok && s.mem[i].frame != m.frame:
			if f := a.joinFrames(s.mem[i].frame, m.frame, widen); f != s.mem[i].frame {
				s.mem[i].frame, s.mem[i].own, changed = f, false, true
			}
		}
	}
	return changed
}

// refine applies what a jump says about the registers that it compares, if the jump is taken or not. It reports
// false if the program cannot go that way.
func (s *state) refine(ins *asm.Instruction, taken bool) bool {
	op, narrow := ins.OpCode.JumpOp(), ins.OpCode.Class() == asm.Jump32Class
	x, y := s.regs[ins.Dst], constant(ins.Constant)
	if ins.OpCode.Source() == asm.RegSource {
		y = s.regs[ins.Src]
	}
	if x.kind == pointer && y.isNull() {
		if op == asm.JEq && taken || op == asm.JNE && !taken {
			s.regs[ins.Dst] = y
		}
		return true
	}
	if x.kind != number && x.kind != unknown || y.kind != number {
		return true
	}
	if narrow {
		y = narrowed(y)
		if lo, hi := x.bounds(); lo < 0 || hi > math.MaxInt32 || y.max > math.MaxInt32 {
			return true
		}
	}
	if !taken {
		op = opposite(op)
	}
	if x.isConstant() && y.isConstant() {
		return holds(op, x.min, y.min)
	}
	s.replace(ins.Dst, x, x.within(limits(op, x, y)))
	if ins.OpCode.Source() == asm.RegSource && !narrow {
		s.replace(ins.Src, y, y.within(limits(mirrored(op), y, full.within(x.bounds()))))
	}
	return true
}

// replace replaces v in register r, and in all that hold the same number.
func (s *state) replace(r asm.Register, v, by value) {
	if s.regs[r] == v {
		s.regs[r] = by
	}
	for i := range s.regs {
		if v.id != 0 && v.kind == number && s.regs[i] == v {
			s.regs[i] = by
		}
	}
}

// fresh returns an id for the number that the instruction at p yields. Registers that hold what it yielded
// before lose the id.
func (s *state) fresh(p place) int32 {
	id := int32(p.ins) + 1
	for i := range s.regs {
		if v := &s.regs[i]; v.kind == number && v.id == id {
			v.id = 0
		}
	}
	return id
}
