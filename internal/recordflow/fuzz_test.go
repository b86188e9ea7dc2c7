package recordflow

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// FuzzAnalyze analyzes programs that the verifier would refuse.
func FuzzAnalyze(f *testing.F) {
	var buf bytes.Buffer
	for _, insns := range []asm.Instructions{
		{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		{
			asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R1, Src: asm.PseudoMapFD, Constant: 7},
			asm.Mov.Imm(asm.R2, 24), asm.Mov.Imm(asm.R3, 0),
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call)},
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.JEq), Dst: asm.R0, Offset: -3},
			asm.StoreImm(asm.R0, 0, 5, asm.Word),
			asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord), asm.LoadMem(asm.R1, asm.RFP, -8, asm.DWord),
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Offset: -9},
			asm.Return(),
		},
		{ // output of the stack, in a function that a callback calls
			asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R2, Src: asm.PseudoFunc, Constant: 3},
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Constant: 181}, asm.Return(),
			asm.StoreImm(asm.RFP, -8, 5, asm.Word), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -8),
			asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R1, Src: asm.PseudoMapFD, Constant: 7},
			asm.Mov.Imm(asm.R3, 16), asm.And.Imm(asm.R3, 7), asm.LSh.Imm(asm.R3, 70),
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Constant: 130}, asm.Return(),
		},
		{ // lookups that are inlined, and a dynptr
			asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R1, Src: asm.PseudoMapFD, Constant: 8},
			asm.Add.Imm(asm.R1, 8), asm.Add.Reg(asm.R0, asm.R1), asm.LoadMem(asm.R0, asm.R0, 0, asm.DWord),
			asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R1, Src: asm.PseudoMapFD, Constant: 9},
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Constant: 1},
			asm.JEq.Imm(asm.R0, 0, ""), asm.Add.Imm(asm.R0, 56), asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
			asm.Mov.Reg(asm.R4, asm.RFP), asm.Add.Imm(asm.R4, -16),
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Constant: 198},
			asm.Mov.Reg(asm.R1, asm.R4), asm.Mov.Reg(asm.R3, asm.R4), asm.Mov.Imm(asm.R4, -1),
			asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Constant: 202}, asm.Return(),
		},
	} {
		buf.Reset()
		for _, ins := range insns {
			if _, err := ins.Marshal(&buf, binary.LittleEndian); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(bytes.Clone(buf.Bytes()))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		insns, err := asm.AppendInstructions(nil, bytes.NewReader(raw), binary.LittleEndian, "linux")
		if err != nil || len(insns) == 0 {
			return
		}
		maps := map[uint32]Map{
			7: {Type: ebpf.RingBuf, Ring: true}, 8: {Type: ebpf.PerCPUArray, ValueSize: 64},
			9: {Type: ebpf.HashOfMaps, Ring: true},
		}
		for _, helper := range []func(int32) string{nil, func(n int32) string { return nameInC(asm.BuiltinFunc(n)) }} {
			f, err := Analyze(&Program{Insns: insns, Maps: maps, Helper: helper})
			if err == nil {
				summary(f)
			}
		}
	})
}
