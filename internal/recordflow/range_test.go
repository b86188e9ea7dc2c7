package recordflow

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf/asm"
)

var aluOps = []asm.ALUOp{
	asm.Add, asm.Sub, asm.Mul, asm.Div, asm.Mod, asm.And, asm.Or, asm.Xor, asm.LSh, asm.RSh, asm.ArSh, asm.Neg,
}

// someNumber returns a number, more often a small one or one at a limit.
func someNumber(r *rand.Rand) int64 {
	switch r.IntN(4) {
	case 0:
		return int64(r.Uint64())
	case 1:
		return []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxUint32, math.MaxInt32, 63, 64}[r.IntN(9)]
	}
	return r.Int64N(600) - 100
}

// someRange returns the bounds of a number, and a number within them.
func someRange(r *rand.Rand) (value, int64) {
	x, y := someNumber(r), someNumber(r)
	v := value{kind: number, min: min(x, y), max: max(x, y)}
	switch r.IntN(3) {
	case 0:
		v.min = v.max
	case 1:
		return v, v.max
	}
	return v, v.min
}

// What an instruction computes is within the bounds that are computed from those of its operands.
func TestBoundsHoldTheResult(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300_000 {
		op := aluOps[r.IntN(len(aluOps))]
		x, a := someRange(r)
		y, b := someRange(r)
		wide := r.IntN(2) == 0
		got := compute(op, wide, x, y)
		var want int64
		if wide {
			want = evaluate(op, a, b).min
		} else {
			want = int64(narrow(op, uint32(a), uint32(b)))
		}
		if want < got.min || want > got.max {
			t.Fatalf("%v (64 bits: %v) of %d in [%d, %d] and %d in [%d, %d] is %d, not in [%d, %d]",
				op, wide, a, x.min, x.max, b, y.min, y.max, want, got.min, got.max)
		}
	}
}

// narrow computes as the kernel's interpreter does with 32 bits (kernel/bpf/core.c, ___bpf_prog_run).
func narrow(op asm.ALUOp, x, y uint32) uint32 {
	switch op {
	case asm.LSh:
		return x << (y & 31)
	case asm.RSh:
		return x >> (y & 31)
	case asm.ArSh:
		return uint32(int32(x) >> (y & 31))
	}
	return uint32(evaluate(op, int64(x), int64(y)).min)
}

var jumpOps = []asm.JumpOp{
	asm.JEq, asm.JNE, asm.JGT, asm.JGE, asm.JLT, asm.JLE, asm.JSGT, asm.JSGE, asm.JSLT, asm.JSLE,
}

// A number is within the bounds that a jump on it leaves, on the way that the program goes.
func TestBoundsHoldAfterAJump(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300_000 {
		op := jumpOps[r.IntN(len(jumpOps))]
		x, a := someRange(r)
		y, b := someRange(r)
		ins := &asm.Instruction{OpCode: op.Op(asm.RegSource), Dst: asm.R1, Src: asm.R2}
		taken := holds(op, a, b)
		if r.IntN(2) == 0 {
			ins.OpCode = ins.OpCode&^0x7 | asm.OpCode(asm.Jump32Class)
			taken = holdsNarrow(op, a, b)
		}
		s := &state{}
		s.regs[1], s.regs[2] = x, y
		possible := s.refine(ins, taken)
		if v, w := s.regs[1], s.regs[2]; !possible || a < v.min || a > v.max || b < w.min || b > w.max {
			t.Fatalf("%v of %d in [%d, %d] and %d in [%d, %d], taken %v: %v, [%d, %d] and [%d, %d]",
				ins, a, x.min, x.max, b, y.min, y.max, taken, possible, v.min, v.max, w.min, w.max)
		}
	}
}

func holdsNarrow(op asm.JumpOp, x, y int64) bool {
	switch op {
	case asm.JSGT, asm.JSGE, asm.JSLT, asm.JSLE:
		return holds(op, int64(int32(x)), int64(int32(y)))
	}
	return holds(op, int64(uint32(x)), int64(uint32(y)))
}

func TestOrigins(t *testing.T) {
	const by = 1
	from := full
	from.by, from.width = by, 64
	imm := func(op asm.ALUOp, n int64) func(value) value {
		return func(v value) value { return compute(op, true, v, constant(n)) }
	}
	rotated := func(v value) value {
		return compute(asm.Or, true, imm(asm.RSh, 32)(v), imm(asm.LSh, 32)(v))
	}
	tests := []struct {
		rule         string
		ops          []func(value) value
		shift, width uint8
		known        uint16
	}{
		{"the upper half", []func(value) value{imm(asm.RSh, 32)}, 32, 32, by},
		{"the lower half", []func(value) value{narrowed}, 0, 32, by},
		{"the lower half as old compilers take it", []func(value) value{imm(asm.LSh, 32), imm(asm.RSh, 32)}, 0, 32, by},
		{"some bits", []func(value) value{imm(asm.RSh, 8), imm(asm.And, 0xff)}, 8, 8, by},
		{"bits that are not together", []func(value) value{imm(asm.And, 0x101)}, 0, 0, 0},
		{"exchanged halves", []func(value) value{rotated}, 32, 64, by},
		{"the lower half of exchanged halves", []func(value) value{rotated, narrowed}, 32, 32, by},
		{"the upper half of exchanged halves", []func(value) value{rotated, imm(asm.RSh, 32)}, 0, 32, by},
		{"some of exchanged halves", []func(value) value{rotated, imm(asm.RSh, 8)}, 0, 0, 0},
		{"a sum", []func(value) value{imm(asm.Add, 1)}, 0, 0, 0},
		{"nothing", []func(value) value{imm(asm.RSh, 32), imm(asm.RSh, 32)}, 0, 0, 0},
	}
	for _, tt := range tests {
		v := from
		for _, op := range tt.ops {
			v = op(v)
		}
		if v.by != tt.known || v.shift != tt.shift || v.width != tt.width || v.left != 0 {
			t.Errorf("%s: origin %d, shift %d, width %d, left %d", tt.rule, v.by, v.shift, v.width, v.left)
		}
	}
}
