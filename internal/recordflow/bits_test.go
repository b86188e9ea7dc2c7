package recordflow

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

func TestValuesThatAreBitsOfSeveral(t *testing.T) {
	store := asm.StoreMem(asm.R6, 4, asm.R1, asm.Byte)
	load := func(reg asm.Register, off int16) asm.Instruction { return asm.LoadMem(reg, asm.R7, off, asm.Byte) }
	there := asm.LoadMem(asm.R1, asm.R6, 4, asm.Byte)
	jump := asm.JEq.Imm(asm.R2, 0, "")
	jump.Offset = 1
	for _, tt := range []struct {
		rule  string
		insns asm.Instructions
		want  bool
	}{
		{"a number", asm.Instructions{load(asm.R1, 0), store}, false},
		{"masked", asm.Instructions{load(asm.R1, 0), asm.And.Imm(asm.R1, 7), store}, false},
		{"beside the bits there", asm.Instructions{there, asm.And.Imm(asm.R1, -2), load(asm.R2, 0), asm.And.Imm(asm.R2, 1), asm.Or.Reg(asm.R1, asm.R2), store}, true},
		{"a bit is set", asm.Instructions{there, asm.Or.Imm(asm.R1, 4), store}, true},
		{"a bit is cleared", asm.Instructions{there, asm.And.Imm(asm.R1, -5), store}, true},
		{"another byte is masked", asm.Instructions{asm.LoadMem(asm.R1, asm.R6, 5, asm.Byte), asm.And.Imm(asm.R1, -5), store}, false},
		{"shifted beside another", asm.Instructions{load(asm.R1, 0), asm.LSh.Imm(asm.R1, 3), load(asm.R2, 1), asm.Or.Reg(asm.R1, asm.R2), store}, true},
		{"bytes of a number that is not aligned", asm.Instructions{
			load(asm.R1, 0), load(asm.R2, 1), asm.LSh.Imm(asm.R2, 8), asm.Or.Reg(asm.R1, asm.R2), load(asm.R3, 2), asm.LSh.Imm(asm.R3, 16), asm.Or.Reg(asm.R1, asm.R3), store,
		}, false},
		{"through a copy", asm.Instructions{there, asm.Or.Imm(asm.R1, 4), asm.Mov.Reg(asm.R3, asm.R1), asm.Mov.Reg(asm.R1, asm.R3), store}, true},
		{"in another block", asm.Instructions{there, asm.Or.Imm(asm.R1, 4), jump, store}, false},
		{"a store of a constant", asm.Instructions{there, asm.Or.Imm(asm.R1, 4), asm.StoreImm(asm.R6, 4, 1, asm.Byte)}, false},
		{"a call", asm.Instructions{asm.FnGetPrandomU32.Call(), asm.Mov.Reg(asm.R1, asm.R0), store}, false},
	} {
		c := newCode(append(tt.insns, asm.Mov.Imm(asm.R0, 0), asm.Return()))
		if got := c.joinsBits(len(c.at) - 3); got != tt.want {
			t.Errorf("%s: %t", tt.rule, got)
		}
	}
	// The operands of a hostile value are bounded.
	insns := asm.Instructions{load(asm.R1, 0)}
	for range 60 {
		insns = append(insns, asm.Or.Reg(asm.R1, asm.R1))
	}
	c := newCode(append(insns, store, asm.Return()))
	if c.joinsBits(len(c.at) - 2) {
		t.Error("of itself")
	}
}
