package recordflow

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
)

// Kfuncs write through a dynptr, at offset 8 of the record. Their names are in the source lines.
func TestKfuncs(t *testing.T) {
	store := asm.StoreImm(asm.R0, 4, 7, asm.Word)
	tests := []struct {
		line  string
		args  [5]int32 // the first is the dynptr
		after []asm.Instruction
		want  []string
	}{
		{"p = bpf_dynptr_slice_rdwr(&d, 8, buf, 16);", [5]int32{0, 8, 0, 16}, []asm.Instruction{store}, []string{"12+4 = 7"}},
		{"bpf_probe_read_kernel_str_dynptr(&d, 8, 16, s);", [5]int32{0, 8, 16}, nil, []string{"8+16 by probe_read_kernel_str"}},
		{"bpf_dynptr_memset(&d, 8, 24, 0);", [5]int32{0, 8, 24}, nil, []string{"8+24 by dynptr_memset"}},
		{"bpf_dynptr_copy(&d, 8, &e, 0, 16);", [5]int32{0, 8, 0, 0, 16}, nil, []string{"8+16 by dynptr_copy"}},
	}
	call := asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call)
	for _, tt := range tests {
		insns := asm.Instructions{
			{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R1, Src: asm.PseudoMapFD, Constant: 7},
			asm.Mov.Imm(asm.R2, 64), asm.Mov.Imm(asm.R3, 0), asm.Mov.Reg(asm.R4, asm.RFP), asm.Add.Imm(asm.R4, -16),
			{OpCode: call, Constant: int64(asm.FnRingbufReserveDynptr)},
			asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, -16),
		}
		for i, n := range tt.args[1:] {
			insns = append(insns, asm.Mov.Imm(asm.R2+asm.Register(i), n))
		}
		kfunc := asm.Instruction{OpCode: call, Src: asm.PseudoKfuncCall, Constant: 12345}
		insns = append(insns, kfunc.WithSource(asm.Comment(tt.line)))
		insns = append(insns, tt.after...)
		p := &Program{
			Insns: append(insns, asm.Return()), Maps: map[uint32]Map{7: {Type: ebpf.RingBuf, Ring: true}},
			Helper: func(imm int32) string { return nameInC(asm.BuiltinFunc(imm)) },
		}
		var got []string
		for _, w := range onlySite(t, p).Writes {
			got = append(got, describeWrite(w))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.line, diff)
		}
		unnamed := strings.ReplaceAll(tt.line, "bpf_", "my_")
		p.Insns[12] = p.Insns[12].WithSource(asm.Comment(unnamed))
		if s := onlySite(t, p); len(s.Writes) > 0 && tt.after == nil {
			t.Errorf("%s: %+v", unnamed, s.Writes)
		}
	}
}
