package recordflow

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
)

// What is written to the stack and copied from there is a write into the record.
func TestCopiesFromTheStack(t *testing.T) {
	stored := func(off int16, v int64, size asm.Size) asm.Instruction {
		if size == asm.DWord {
			return asm.Instruction{OpCode: asm.StoreImmOp(asm.DWord), Dst: asm.R10, Offset: off, Constant: v}
		}
		return asm.StoreImm(asm.R10, off, v, size)
	}
	load := func(off int16, size asm.Size) asm.Instruction { return asm.LoadMem(asm.R2, asm.R10, off, size) }
	store := func(off int16, size asm.Size) asm.Instruction { return asm.StoreMem(asm.R1, off, asm.R2, size) }
	tests := []struct {
		rule  string
		insns asm.Instructions
		want  []string // offset, size and value of the writes to the stack
	}{
		{"all of it", asm.Instructions{stored(-8, 5, asm.DWord), load(-8, asm.DWord), store(0, asm.DWord)}, []string{"0+8=5"}},
		{"two members at once", asm.Instructions{stored(-8, 5, asm.Word), stored(-4, 6, asm.Word), load(-8, asm.DWord), store(0, asm.DWord)},
			[]string{"0+4=5", "4+4=6"}},
		{"a member", asm.Instructions{stored(-4, 6, asm.Word), load(-4, asm.Word), store(4, asm.Word)}, []string{"4+4=6"}},
		{"the upper half", asm.Instructions{stored(-16, 5, asm.Word), stored(-12, 6, asm.Word), load(-16, asm.DWord), asm.RSh.Imm(asm.R2, 32), store(4, asm.Word)},
			[]string{"4+4=6"}},
		{"more than is copied", asm.Instructions{stored(-8, 5, asm.DWord), load(-8, asm.Word), store(0, asm.Word)}, []string{"0+4=5"}},
		{"a value that is overwritten", asm.Instructions{stored(-8, 4, asm.DWord), stored(-8, 5, asm.DWord), load(-8, asm.DWord), store(0, asm.DWord)}, []string{"0+8=5"}},
		{"overwritten after the load", asm.Instructions{stored(-8, 4, asm.DWord), load(-8, asm.DWord), stored(-8, 5, asm.DWord), store(0, asm.DWord)}, nil},
		{"a byte of a number", asm.Instructions{stored(-8, 5, asm.DWord), load(-8, asm.DWord), store(0, asm.Byte)}, nil},
		{"another value", asm.Instructions{stored(-8, 5, asm.DWord), load(-8, asm.DWord), asm.Add.Imm(asm.R2, 1), store(0, asm.DWord)}, nil},
		{"another register", asm.Instructions{stored(-8, 5, asm.DWord), asm.LoadMem(asm.R3, asm.R10, -8, asm.DWord), store(0, asm.DWord)}, nil},
	}
	for _, tt := range tests {
		s := onlySite(t, reserveAnd(append(slices.Clone(tt.insns), asm.Return())...))
		var got []string
		for _, w := range s.Writes {
			if w.Moved {
				got = append(got, fmt.Sprintf("%d+%d=%d", w.Off, w.Size, w.Const))
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || s.Escapes {
			t.Errorf("%s: escapes %v (-want +got)\n%s", tt.rule, s.Escapes, diff)
		}
	}
}

func TestCopiesAreBounded(t *testing.T) {
	var n siteNote
	for i := range int64(2 * maxCopies) {
		d := dataNote{id: 1, from: constant(-16 * i), to: constant(0), size: 8, last: map[int32][]int32{1: {int32(i)}}}
		n.addCopy(d)
		d.from, d.to = constant(8-16*i), constant(8)
		n.addCopy(d)
	}
	if len(n.copies) != maxCopies {
		t.Errorf("%d copies", len(n.copies))
	}
	for _, d := range n.copies {
		if d.size != 16 || d.to.min != 0 || len(d.last[1]) != 1 {
			t.Errorf("%+v", d)
		}
	}
}
