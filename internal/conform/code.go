package conform

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// code is a program or a part of one. By convention of this package R6 holds the context, and R7 to R9
// hold values that the program keeps across calls.
type code = asm.Instructions

// program concatenates instructions and code after an instruction that saves the context in R6.
func program(parts ...any) code {
	return append(code{asm.Mov.Reg(asm.R6, asm.R1)}, join(parts...)...)
}

func join(parts ...any) code {
	var c code
	for _, p := range parts {
		switch p := p.(type) {
		case asm.Instruction:
			c = append(c, p)
		case code:
			c = append(c, p...)
		default:
			panic("neither an instruction nor code")
		}
	}
	return c
}

// arg loads the i-th argument, a u64, of a raw_tp or syscall program.
func arg(r asm.Register, i int16) asm.Instruction {
	return asm.LoadMem(r, asm.R6, 8*i, asm.DWord)
}

func set(r asm.Register, v int32) asm.Instruction { return asm.Mov.Imm(r, v) }

func mov(to, from asm.Register) asm.Instruction { return asm.Mov.Reg(to, from) }

func theMap(r asm.Register, m *ebpf.Map) asm.Instruction { return asm.LoadMapPtr(r, m.FD()) }

// ret returns code that returns v.
func ret(v int32) code { return code{set(asm.R0, v), asm.Return()} }

// at makes an instruction the target of jumps to name.
func at(name string, ins asm.Instruction) asm.Instruction { return ins.WithSymbol(name) }

// output is an array map through which a program reports to the test, in 64-bit words.
type output struct {
	t *T
	m *ebpf.Map
}

const outputWords = 32

func (t *T) output() output {
	return output{t, t.create(&ebpf.MapSpec{Name: "output", Type: ebpf.Array, KeySize: 4, ValueSize: 8 * outputWords, MaxEntries: 1})}
}

// addr loads the address of word i.
func (o output) addr(r asm.Register, i uint32) asm.Instruction {
	return asm.LoadMapValue(r, o.m.FD(), 8*i)
}

// put stores register r into word i. It overwrites the register scratch.
func (o output) put(i uint32, r, scratch asm.Register) code {
	return code{o.addr(scratch, i), asm.StoreMem(scratch, 0, r, asm.DWord)}
}

// give sets word i, for the program to read, and clears the other words.
func (o output) give(i int, v uint64) {
	words := make([]uint64, outputWords)
	words[i] = v
	o.t.must(o.m.Put(uint32(0), words), "write output")
}

// words returns the words that the program has stored.
func (o output) words() []uint64 {
	var b []byte
	o.t.must(o.m.Lookup(uint32(0), &b), "read output")
	w := make([]uint64, outputWords)
	for i := range w {
		w[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return w
}

// atomically sets the constant of an atomic instruction, which says what it does. cilium/ebpf v0.22
// marshals the instruction with constant 0, an addition that does not return the old value.
func atomically(ins asm.Instruction) asm.Instruction {
	ins.Constant = int64(ins.OpCode.AtomicOp() >> 8)
	return ins
}

// function returns body as a function of the program, to be used as a callback. The verifier requires BTF
// types for it and for the main program (check_btf_func).
func function(name string, body code, params ...btf.FuncParam) code {
	long := &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}
	fn := &btf.Func{Name: name, Type: &btf.FuncProto{Return: long, Params: params}, Linkage: btf.StaticFunc}
	body = append(code(nil), body...)
	body[0] = btf.WithFuncMetadata(body[0].WithSymbol(name), fn)
	return body
}

// callback loads the address of a function of the program.
func callback(r asm.Register, name string) asm.Instruction {
	return asm.Instruction{
		OpCode: asm.LoadImmOp(asm.DWord), Dst: r, Src: asm.PseudoFunc, Constant: -1,
	}.WithReference(name)
}
