package recordflow

import (
	"math"
	"math/bits"

	"github.com/cilium/ebpf/asm"
)

// opposite returns the comparison that holds where op does not.
func opposite(op asm.JumpOp) asm.JumpOp {
	switch op {
	case asm.JEq:
		return asm.JNE
	case asm.JNE:
		return asm.JEq
	case asm.JGT:
		return asm.JLE
	case asm.JLE:
		return asm.JGT
	case asm.JGE:
		return asm.JLT
	case asm.JLT:
		return asm.JGE
	case asm.JSGT:
		return asm.JSLE
	case asm.JSLE:
		return asm.JSGT
	case asm.JSGE:
		return asm.JSLT
	case asm.JSLT:
		return asm.JSGE
	}
	return asm.InvalidJumpOp
}

// mirrored returns the comparison of y with x that holds where x op y does.
func mirrored(op asm.JumpOp) asm.JumpOp {
	switch op {
	case asm.JEq, asm.JNE:
		return op
	case asm.JGT:
		return asm.JLT
	case asm.JLE:
		return asm.JGE
	case asm.JGE:
		return asm.JLE
	case asm.JLT:
		return asm.JGT
	case asm.JSGT:
		return asm.JSLT
	case asm.JSLE:
		return asm.JSGE
	case asm.JSGE:
		return asm.JSLE
	case asm.JSLT:
		return asm.JSGT
	}
	return asm.InvalidJumpOp
}

// holds reports whether x op y may hold.
func holds(op asm.JumpOp, x, y int64) bool {
	switch op {
	case asm.JEq:
		return x == y
	case asm.JNE:
		return x != y
	case asm.JGT:
		return uint64(x) > uint64(y)
	case asm.JLE:
		return uint64(x) <= uint64(y)
	case asm.JGE:
		return uint64(x) >= uint64(y)
	case asm.JLT:
		return uint64(x) < uint64(y)
	case asm.JSGT:
		return x > y
	case asm.JSLE:
		return x <= y
	case asm.JSGE:
		return x >= y
	case asm.JSLT:
		return x < y
	}
	return true
}

// limits returns the bounds of x where x op y holds, a signed number as bounds are. An unsigned comparison says
// nothing if a number that it takes as large can be negative.
func limits(op asm.JumpOp, x, y value) (lo, hi int64) {
	lo, hi = math.MinInt64, math.MaxInt64
	xlo, _ := x.bounds()
	switch op {
	case asm.JEq:
		return y.min, y.max
	case asm.JNE:
		if y.isConstant() && y.min == xlo {
			lo = xlo + 1
		}
	case asm.JGT, asm.JGE:
		if xlo >= 0 && y.min >= 0 {
			lo = y.min
		}
	case asm.JLT, asm.JLE:
		if y.min >= 0 {
			lo, hi = 0, y.max
		}
	case asm.JSGT, asm.JSGE:
		lo = y.min
	case asm.JSLT, asm.JSLE:
		hi = y.max
	default:
		return lo, hi
	}
	switch op {
	case asm.JGT, asm.JSGT:
		if lo > math.MinInt64 && lo < math.MaxInt64 {
			lo++
		}
	case asm.JLT, asm.JSLT:
		if hi < math.MaxInt64 && hi > math.MinInt64 {
			hi--
		}
	}
	return lo, hi
}

// arithmetic returns the bounds of x op y, for numbers of 64 bits.
func arithmetic(op asm.ALUOp, x, y value) value {
	if x.isConstant() && y.isConstant() {
		return evaluate(op, x.min, y.min)
	}
	positive := x.min >= 0 && y.min >= 0
	switch {
	case op == asm.Add:
		return sum(x, y)
	case op == asm.Sub:
		return sum(x, negative(y))
	case op == asm.And && y.min >= 0:
		if x.min >= 0 {
			return value{kind: number, max: min(x.max, y.max)}
		}
		return value{kind: number, max: y.max}
	case op == asm.And && x.min >= 0:
		return value{kind: number, max: x.max}
	case op == asm.RSh && y.isConstant() && y.min > 0 && y.min < 64:
		if x.min >= 0 {
			return value{kind: number, min: x.min >> y.min, max: x.max >> y.min}
		}
		return value{kind: number, max: int64(uint64(math.MaxUint64) >> y.min)}
	case op == asm.ArSh && y.isConstant() && y.min > 0 && y.min < 64:
		return value{kind: number, min: x.min >> y.min, max: x.max >> y.min}
	case op == asm.LSh && y.isConstant() && y.min >= 0 && x.min >= 0 && bits.Len64(uint64(x.max))+int(min(y.min, 64)) < 64:
		return value{kind: number, min: x.min << y.min, max: x.max << y.min}
	case op == asm.Mul && positive && bits.Len64(uint64(x.max))+bits.Len64(uint64(y.max)) < 64:
		return value{kind: number, min: x.min * y.min, max: x.max * y.max}
	case op == asm.Div && positive && y.isConstant() && y.min > 0:
		return value{kind: number, min: x.min / y.min, max: x.max / y.min}
	case op == asm.Mod && positive && y.min > 0:
		return value{kind: number, max: y.max - 1}
	case (op == asm.Or || op == asm.Xor) && positive:
		return value{kind: number, max: 1<<max(bits.Len64(uint64(x.max)), bits.Len64(uint64(y.max))) - 1}
	}
	return full
}

// sum returns the bounds of x + y; those of all numbers if the sum can overflow.
func sum(x, y value) value {
	lo, hi := x.min+y.min, x.max+y.max
	if (lo < x.min) != (y.min < 0) || (hi < x.max) != (y.max < 0) {
		return full
	}
	return value{kind: number, min: lo, max: hi}
}

// negative returns the bounds of -v.
func negative(v value) value {
	if v.min == math.MinInt64 {
		return full
	}
	return value{kind: number, min: -v.max, max: -v.min}
}

// evaluate returns x op y.
func evaluate(op asm.ALUOp, x, y int64) value {
	switch op {
	case asm.Add:
		return constant(x + y)
	case asm.Sub:
		return constant(x - y)
	case asm.Mul:
		return constant(x * y)
	case asm.Div:
		if y == 0 {
			return constant(0)
		}
		return constant(int64(uint64(x) / uint64(y)))
	case asm.Mod:
		if y == 0 {
			return constant(x)
		}
		return constant(int64(uint64(x) % uint64(y)))
	case asm.And:
		return constant(x & y)
	case asm.Or:
		return constant(x | y)
	case asm.Xor:
		return constant(x ^ y)
	case asm.LSh:
		return constant(x << (y & 63))
	case asm.RSh:
		return constant(int64(uint64(x) >> (y & 63)))
	case asm.ArSh:
		return constant(x >> (y & 63))
	case asm.Neg:
		return constant(-x)
	}
	return full
}
