package progcode

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/rawbtf"
	"github.com/rbtool/rbtool/internal/syscall"
)

// function is the BTF of a function called f.
var function = &btf.Func{Name: "f", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
	Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
	Params: []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: &btf.Void{}}}},
}}

// loaded loads a program with source lines and a function in its BTF.
func loaded(t testing.TB) *ebpf.Program {
	t.Helper()
	insns := asm.Instructions{
		btf.WithFuncMetadata(asm.Mov.Imm(asm.R0, 1).WithSymbol("f"), function).WithSource(asm.Comment("int r = 1;")),
		asm.Mov.Imm(asm.R0, 0).WithSource(asm.Comment("r = 0;")),
		asm.LoadImm(asm.R1, math.MaxInt64, asm.DWord),
		asm.Return().WithSource(asm.Comment("return r;")),
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "f", Type: ebpf.SocketFilter, License: "MIT", Instructions: insns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// read returns what the kernel keeps of a program.
func read(t testing.TB, p *ebpf.Program) (code *syscall.ProgramCode, types []byte) {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	if code, err = syscall.ReadProgramCode(id); err != nil {
		t.Fatal(err)
	}
	about, _ := info.BTFID()
	if types, err = syscall.ReadBTF(about, math.MaxUint32); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.ReadBTF(about, uint32(len(types))-1); !errors.Is(err, syscall.ErrTooLarge) {
		t.Errorf("BTF that is too large: %v", err)
	}
	return code, types
}

func TestInstructionsAsCiliumReadsThem(t *testing.T) {
	p := loaded(t)
	code, types := read(t, p)
	spec, err := rawbtf.Parse(types)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Instructions(code, spec)
	if err != nil {
		t.Fatal(err)
	}
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	want, err := info.Instructions()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(listing(want), listing(got)); diff != "" {
		t.Errorf("-cilium/ebpf +this package:\n%s", diff)
	}
	if got, err = Instructions(code, nil); err != nil || got[0].Source() != nil || len(got) != len(want) {
		t.Errorf("without BTF: %v, %v", err, listing(got))
	}
}

// listing describes each instruction with its line and function.
func listing(insns asm.Instructions) (lines []string) {
	for i := range insns {
		ins := &insns[i]
		name := ""
		if f := btf.FuncMetadata(ins); f != nil {
			name = f.Name
		}
		lines = append(lines, fmt.Sprintf("%d %d %d %d %d %q %q", ins.OpCode, ins.Dst, ins.Src, ins.Offset, ins.Constant, name, ins.Source()))
	}
	return lines
}

func TestWhatIsNotThere(t *testing.T) {
	if _, err := syscall.ReadProgramCode(math.MaxUint32); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("program: %v", err)
	}
	if _, err := syscall.ReadBTF(math.MaxUint32, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("BTF: %v", err)
	}
}

// FuzzInstructions reads what the memory of a program that is gone can look like.
func FuzzInstructions(f *testing.F) {
	b, err := btf.NewBuilder([]btf.Type{function}, nil)
	if err != nil {
		f.Fatal(err)
	}
	types, err := b.Marshal(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	spec, err := rawbtf.Parse(types)
	if err != nil {
		f.Fatal(err)
	}
	exit := []byte{0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0}
	f.Add(exit, make([]byte, 2*LineSize), make([]byte, FuncSize))
	f.Add(exit[:12], bytes.Repeat([]byte{0xff}, LineSize), bytes.Repeat([]byte{1, 0, 0, 0}, 2))
	f.Fuzz(func(t *testing.T, insns, lines, funcs []byte) {
		Instructions(&syscall.ProgramCode{Insns: insns, Lines: lines, Funcs: funcs}, spec)
	})
}
