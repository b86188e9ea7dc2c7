package runner

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Perf event arrays are the rings of programs that also run on kernels before 5.8. To load such an object, its perf event
// arrays become rings, and
//
//	bpf_perf_event_output(ctx, &events, flags, data, size)
//
// becomes bpf_ringbuf_output(&events, data, size, 0): the same bytes, in the order of all CPUs. Only a part of a packet that
// flags ask for is lost.

// perfOutputs are the helpers that write to a perf event array: all take the same arguments.
var perfOutputs = []asm.BuiltinFunc{asm.FnPerfEventOutput, asm.FnSkbOutput, asm.FnXdpOutput}

// perfReads are the helpers that read counters from a perf event array.
var perfReads = []asm.BuiltinFunc{asm.FnPerfEventRead, asm.FnPerfEventReadValue}

// useRings replaces the perf event arrays of the object by rings. Objects that read counters keep them.
func (o *Object) useRings() {
	var names []string
	for name, m := range o.spec.Maps {
		if m.Type == ebpf.PerfEventArray {
			names = append(names, name)
		}
	}
	if len(names) == 0 || o.calls(perfReads) || !o.calls(perfOutputs) {
		return
	}
	slices.Sort(names)
	for _, name := range names {
		m := o.spec.Maps[name]
		m.Type, m.KeySize, m.ValueSize, m.Key, m.Value = ebpf.RingBuf, 0, 0, nil, nil
		m.MaxEntries = uint32(max(defaultRing, os.Getpagesize()))
	}
	for _, p := range o.spec.Programs {
		p.Instructions = outputToRing(p.Instructions)
	}
	o.Notes = append(o.Notes, fmt.Sprintf("the perf event array %s is a ring here: its records are the same, those of all CPUs in their order", strings.Join(names, ", ")))
}

// calls reports whether a program of the object calls one of the helpers.
func (o *Object) calls(helpers []asm.BuiltinFunc) bool {
	for _, p := range o.spec.Programs {
		if slices.ContainsFunc(p.Instructions, func(ins asm.Instruction) bool { return isCall(&ins, helpers) }) {
			return true
		}
	}
	return false
}

func isCall(ins *asm.Instruction, helpers []asm.BuiltinFunc) bool {
	return ins.IsBuiltinCall() && slices.Contains(helpers, asm.BuiltinFunc(ins.Constant))
}

// ringArguments moves the arguments of bpf_perf_event_output to where bpf_ringbuf_output has them.
var ringArguments = asm.Instructions{
	asm.Mov.Reg(asm.R1, asm.R2), asm.Mov.Reg(asm.R2, asm.R4), asm.Mov.Reg(asm.R3, asm.R5), asm.Mov.Imm(asm.R4, 0),
}

// outputToRing replaces the calls, and adapts the jumps across them.
func outputToRing(insns asm.Instructions) (out asm.Instructions) {
	moved := map[asm.RawInstructionOffset]asm.RawInstructionOffset{} // where an instruction was, and what now begins there
	var at, old asm.RawInstructionOffset
	var was []asm.RawInstructionOffset // of each instruction of out; those that are new have none
	const isNew = ^asm.RawInstructionOffset(0)
	for _, ins := range insns {
		moved[old] = at
		if isCall(&ins, perfOutputs) {
			for _, move := range ringArguments {
				out, was, at = append(out, move), append(was, isNew), at+move.Width()
			}
			ins.Constant = int64(asm.FnRingbufOutput)
		}
		out, was = append(out, ins), append(was, old)
		old, at = old+ins.Width(), at+ins.Width()
	}
	at = 0
	for i := range out {
		ins := &out[i]
		if was[i] != isNew && ins.Reference() == "" {
			shiftJump(ins, func(distance int64) int64 {
				target := moved[asm.RawInstructionOffset(int64(was[i])+1+distance)]
				return int64(target) - int64(at) - 1
			})
		}
		at += ins.Width()
	}
	return out
}

// shiftJump replaces the distance of a jump.
func shiftJump(ins *asm.Instruction, distance func(int64) int64) {
	class := ins.OpCode.Class()
	if !class.IsJump() || ins.OpCode.JumpOp() == asm.Call || ins.OpCode.JumpOp() == asm.Exit {
		return
	}
	if class == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja {
		ins.Constant = distance(ins.Constant) // gotol
		return
	}
	ins.Offset = int16(distance(int64(ins.Offset)))
}
