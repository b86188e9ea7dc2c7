package recordflow

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"
)

func TestWhereValuesAreComputed(t *testing.T) {
	at := func(ins asm.Instruction, line string) asm.Instruction { return ins.WithSource(asm.Comment(line)) }
	store := at(asm.StoreMem(asm.R6, 0, asm.R1, asm.Word), "store")
	load := at(asm.LoadMem(asm.R1, asm.R7, 0, asm.Word), "load")
	call := at(asm.FnKtimeGetNs.Call(), "call")
	jump := asm.JEq.Imm(asm.R2, 0, "")
	jump.Offset = 1
	tests := []struct {
		rule  string
		insns asm.Instructions
		want  string
	}{
		{"a load", asm.Instructions{load, store}, "load"},
		{"the last instruction counts", asm.Instructions{load, at(asm.RSh.Imm(asm.R1, 32), "shift"), store}, "shift"},
		{"another register", asm.Instructions{load, at(asm.Add.Imm(asm.R2, 1), "add"), store}, "load"},
		{"a call", asm.Instructions{call, at(asm.Mov.Reg(asm.R8, asm.R0), "move"), at(asm.Mov.Reg(asm.R1, asm.R8), "move"), store}, "call"},
		{"a call forgets", asm.Instructions{load, call, store}, ""},
		{"a constant", asm.Instructions{at(asm.Mov.Imm(asm.R1, 5), "five"), store}, ""},
		{"a store of a constant", asm.Instructions{load, at(asm.StoreImm(asm.R6, 0, 5, asm.Word), "store")}, ""},
		{"an address", asm.Instructions{at(asm.LoadImm(asm.R1, 1<<40, asm.DWord), "address"), store}, ""},
		{"an atomic operation", asm.Instructions{load, at(asm.FetchAdd.Mem(asm.R7, asm.R1, asm.DWord, 0), "add"), store}, ""},
		{"another block", asm.Instructions{load, jump, store}, ""},
		{"nothing sets it", asm.Instructions{store}, ""},
	}
	for _, tt := range tests {
		insns := append(tt.insns, asm.Mov.Imm(asm.R0, 0), asm.Return())
		c := newCode(insns)
		last := len(c.at) - 3 // the store
		if got := c.computedAt(last).Text; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestWhereArgumentsAreComputed(t *testing.T) {
	at := func(ins asm.Instruction, line string) asm.Instruction { return ins.WithSource(asm.Comment(line)) }
	call := at(asm.FnProbeReadKernel.Call(), "call")
	move := at(asm.Mov.Reg(asm.R1, asm.R6), "move")
	jump := asm.JEq.Imm(asm.R2, 0, "")
	jump.Offset = 1
	tests := []struct {
		rule  string
		insns asm.Instructions
		want  string
	}{
		{"the address of a member", asm.Instructions{move, at(asm.Add.Imm(asm.R1, 8), "add"), at(asm.Mov.Imm(asm.R2, 4), "size"), call}, "add"},
		{"the address of the first member", asm.Instructions{move, call}, "move"},
		{"another block", asm.Instructions{at(asm.Add.Imm(asm.R1, 8), "add"), jump, call}, "add"},
		{"several lines in other blocks", asm.Instructions{at(asm.Add.Imm(asm.R1, 8), "add"), jump, at(asm.Add.Imm(asm.R1, 8), "other"), at(asm.JEq.Imm(asm.R3, 0, ""), ""), call}, ""},
		{"a copy in the line of the call", asm.Instructions{at(asm.Add.Imm(asm.R6, 8), "add"), at(asm.Mov.Reg(asm.R1, asm.R6), "call"), call}, "add"},
		{"nothing sets it", asm.Instructions{call}, ""},
	}
	for _, tt := range tests {
		insns := append(tt.insns, asm.Mov.Imm(asm.R0, 0), asm.Return())
		c := newCode(insns)
		last := len(c.at) - 3 // the call
		if got := c.argumentAt(last, asm.R1).Text; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestWhereValuesOfPathsAreComputed(t *testing.T) {
	at := func(ins asm.Instruction, line string) asm.Instruction { return ins.WithSource(asm.Comment(line)) }
	jump := func(n int16) asm.Instruction {
		j := asm.JEq.Imm(asm.R2, 0, "")
		j.Offset = n
		return j
	}
	store := asm.StoreMem(asm.R6, 0, asm.R1, asm.Word)
	load := at(asm.LoadMem(asm.R1, asm.R7, 0, asm.Word), "load")
	other := at(asm.LoadMem(asm.R1, asm.R8, 0, asm.Word), "other")
	tests := []struct {
		rule  string
		insns asm.Instructions
		want  []string
	}{
		{"one path", asm.Instructions{load, store}, []string{"load"}},
		{"a constant has none", asm.Instructions{asm.Mov.Imm(asm.R1, 0), jump(1), load, store}, []string{"load"}},
		{"two paths", asm.Instructions{load, jump(1), other, store}, []string{"other", "load"}},
		{"a copy", asm.Instructions{load, asm.Mov.Reg(asm.R3, asm.R1), jump(1), asm.Mov.Reg(asm.R1, asm.R3), store}, []string{"load"}},
		{"a loop", asm.Instructions{load, at(asm.Add.Imm(asm.R1, 1), "add"), jump(-2), store}, []string{"add"}},
		{"nothing", asm.Instructions{jump(0), store}, nil},
	}
	for _, tt := range tests {
		c := newCode(append(tt.insns, asm.Mov.Imm(asm.R0, 0), asm.Return()))
		var got []string
		for _, l := range c.computedOnPaths(len(c.at) - 3) {
			got = append(got, l.Text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
	long := asm.Instructions{load}
	for range maxPathSteps {
		long = append(long, asm.Mov.Imm(asm.R4, 0))
	}
	c := newCode(append(long, store, asm.Mov.Imm(asm.R0, 0), asm.Return()))
	if got := c.computedOnPaths(len(c.at) - 3); got != nil {
		t.Errorf("far away: %v", got)
	}
}
