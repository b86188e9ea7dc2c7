package recordflow

import (
	"math"
	"math/bits"

	"github.com/cilium/ebpf/asm"
)

// alu returns the value that an instruction at p that computes puts into its destination.
func (a *analysis) alu(p place, s *state, ins *asm.Instruction) value {
	op, wide := ins.OpCode.ALUOp(), ins.OpCode.Class() == asm.ALU64Class
	x, y := s.regs[ins.Dst], constant(ins.Constant)
	if ins.OpCode.Source() == asm.RegSource {
		y = s.regs[ins.Src]
	}
	switch {
	case op == asm.Mov && wide && (ins.Offset == 0 || ins.Offset == percpu):
		return y
	case op == asm.Mov && !wide:
		return narrowed(y)
	case op == asm.MovSX8 && y.isConstant():
		return constant(int64(int8(y.min)))
	case op == asm.MovSX16 && y.isConstant():
		return constant(int64(int16(y.min)))
	case op == asm.MovSX32 && y.isConstant():
		return constant(int64(int32(y.min)))
	case op == asm.Swap:
		return swapped(ins, x)
	case op == asm.Add && wide && (x.kind == pointer) != (y.kind == pointer):
		if y.kind == pointer {
			x, y = y, x
		}
		return a.moveBy(p, s, x, full.within(y.bounds()))
	case op == asm.Sub && wide && x.kind == pointer && y.kind != pointer:
		return a.moveBy(p, s, x, negative(full.within(y.bounds())))
	case x.kind > number || y.kind > number:
		return value{}
	}
	if x.kind == unknown {
		x = full
	}
	if y.kind == unknown {
		y = full
	}
	v := compute(op, wide, x, y)
	v.id = s.fresh(p)
	return v
}

// percpu is BPF_ADDR_PERCPU (include/linux/filter.h): the verifier emits a move with this offset to convert a
// per-CPU address to the address on the current CPU.
const percpu = -1

// compute returns x op y for two numbers.
func compute(op asm.ALUOp, wide bool, x, y value) value {
	if !wide {
		x, y = narrowed(x), narrowed(y)
		if op == asm.ArSh || y.isConstant() && y.min > 31 && (op == asm.LSh || op == asm.RSh) {
			return value{kind: number, max: math.MaxUint32}
		}
	}
	v := arithmetic(op, x, y)
	switch {
	case v.isConstant():
	case y.isConstant():
		v = v.derived(op, x, y.min)
	case op == asm.Or && (x.halves(y) || y.halves(x)):
		v.by, v.shift, v.width = x.by, 32, 64
	}
	if !wide {
		v = narrowed(v)
	}
	return v
}

// narrowed returns v as a move of 32 bits does.
func narrowed(v value) value {
	const limit = math.MaxUint32
	switch {
	case v.isConstant():
		return constant(int64(uint32(v.min)))
	case v.kind != number:
		return value{kind: number, max: limit}
	case v.min >= 0 && v.max <= limit:
		return v
	case v.left != 0:
		return value{kind: number, max: limit}
	}
	v.min, v.max, v.id, v.set, v.width = 0, limit, 0, 0, min(v.width, 32)
	return v
}

// swapped returns v with its bytes in another order.
func swapped(ins *asm.Instruction, v value) value {
	size := ins.Constant
	if size != 16 && size != 32 {
		size = 64
	}
	toLittle := ins.OpCode.Class() == asm.ALUClass && ins.OpCode.Endianness() == asm.LE
	switch {
	case !v.isConstant() && size == 64:
		return full
	case !v.isConstant():
		return value{kind: number, max: 1<<size - 1}
	case toLittle:
		return constant(int64(truncate(v.min, size/8)))
	}
	return constant(int64(bits.ReverseBytes64(uint64(v.min)) >> (64 - size)))
}

// halves reports whether v and low are the lower half of a helper's result, moved up, and the upper half.
func (v value) halves(low value) bool {
	return v.by != 0 && v.by == low.by && v.shift == 0 && v.left == 32 && v.width >= 32 &&
		low.shift == 32 && low.left == 0 && low.width == 32
}

// isRotated reports whether v is a result with its halves exchanged.
func (v value) isRotated() bool { return v.shift+v.width > 64 }

// derived returns v, which is x op n, with the origin of x.
func (v value) derived(op asm.ALUOp, x value, n int64) value {
	if x.by == 0 || n < 0 || n > 63 && op != asm.And || x.isRotated() && op != asm.And && n != 32 {
		return v
	}
	bits := uint8(n)
	switch {
	case op == asm.LSh && x.left+bits < 64 && !x.isRotated():
		x.left += bits
	case op == asm.RSh || op == asm.ArSh:
		x.width = min(x.width, 64-x.left)
		if bits < x.left {
			x.left -= bits
			break
		}
		bits -= x.left
		if bits >= x.width {
			return v
		}
		x.left, x.shift, x.width = 0, (x.shift+bits)%64, x.width-bits
	case op == asm.And && n&(n+1) == 0 && x.left == 0:
		x.width = min(x.width, lengthOf(n))
	default:
		return v
	}
	v.by, v.shift, v.width, v.left = x.by, x.shift, x.width, x.left
	return v
}

// lengthOf returns the number of bits that n takes.
func lengthOf(n int64) uint8 { return uint8(bits.Len64(uint64(n))) }

// moveBy returns a pointer n bytes after v. In a lookup that the verifier inlined, pointers to the insides of a
// map become pointers to an element.
func (a *analysis) moveBy(p place, s *state, v, n value) value {
	o := a.objects[v.id]
	switch o.kind {
	case mapItself: // array_map_gen_lookup, percpu_array_map_gen_lookup, array_of_map_gen_lookup
		return a.pointerTo(objectKey{kind: mapBase, m: o.m})
	case mapBase, hashNode: // also htab_map_gen_lookup, htab_percpu_map_gen_lookup, htab_of_map_gen_lookup
		if t := a.Maps[o.m].Type; isPerCPU(t) || isOuter(t) {
			return a.pointerTo(objectKey{kind: mapSlot, m: o.m, at: p})
		}
		return a.elementOf(s, o.m, p)
	}
	moved := sum(v, n)
	v.min, v.max = moved.min, moved.max
	return v
}
