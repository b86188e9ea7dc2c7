package infer

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// hidden returns a program of testdata/foreign.bpf.c as the kernel dumps it to processes that
// cannot see kernel addresses: the ring has the id 7, and calls of helpers have the immediate 0.
func hidden(t *testing.T, name, ring string, lines bool) *program {
	t.Helper()
	b, err := os.ReadFile("testdata/foreign_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	insns := coll.Programs[name].Instructions
	for i := range insns {
		ins := &insns[i]
		switch {
		case ins.IsLoadFromMap() && ins.Reference() == ring:
			ins.Constant = 7
		case ins.IsLoadFromMap():
			ins.Constant = 8
		case ins.IsBuiltinCall():
			ins.Constant = 0
		}
		if !lines {
			*ins = ins.WithSource(nil)
		}
	}
	p := &program{name: name, ring: 7, spec: coll.Types, code: newCode(insns), names: map[uint32]mapFacts{}, calls: &helpers{}}
	if err := p.follow(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHelpersThatTheKernelHides(t *testing.T) {
	tests := []struct {
		program, ring string
		call          string
		size          int64
	}{
		{"argument", "by_argument", callReserve, 24},
		{"variable", "by_variable", callOutput, 16},
		{"size", "by_size", callReserve, 40},
	}
	for _, tt := range tests {
		for how, lines := range map[string]bool{byLine: true, byArguments: false} {
			t.Run(tt.program+", "+how, func(t *testing.T) {
				sites := hidden(t, tt.program, tt.ring, lines).sites()
				if len(sites) != 1 {
					t.Fatalf("%d sites", len(sites))
				}
				if s := sites[0]; s.Call != tt.call || s.Size != tt.size || s.How != how {
					t.Errorf("%s of %d bytes, %s", s.Call, s.Size, s.How)
				}
			})
		}
	}
}

// FuzzFollow follows programs that the verifier would refuse.
func FuzzFollow(f *testing.F) {
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
		p := &program{ring: 7, code: newCode(insns), names: map[uint32]mapFacts{8: {perCPU: true}}, calls: &helpers{}}
		if p.follow() == nil {
			p.sites()
		}
	})
}

// FuzzFits calls fits with the types of hostile BTF.
func FuzzFits(f *testing.F) {
	f.Add(uint32(8), uint32(0), uint32(4), int64(0), int64(4))
	f.Fuzz(func(t *testing.T, size, bit, field uint32, off, width int64) {
		s := &btf.Struct{Size: size}
		s.Members = []btf.Member{
			{Type: &btf.Int{Size: field}, Offset: btf.Bits(bit)},
			{Type: s, Offset: btf.Bits(bit) + 1, BitfieldSize: btf.Bits(field)},
			{Type: s},
		}
		fits(s, []store{{off, width}})
	})
}
