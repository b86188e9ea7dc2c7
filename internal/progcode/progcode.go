// Package progcode parses a program's instructions with their source lines and functions, from the bytes that the kernel has of
// them. cilium/ebpf parses the program's BTF for each program anew, and without bounds.
package progcode

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Sizes of the kernel's records, in bytes: struct bpf_insn, bpf_line_info and bpf_func_info (include/uapi/linux/bpf.h).
const (
	InsnSize = 8
	LineSize = 16
	FuncSize = 8
)

// Instructions parses instructions in the form of the kernel's dump. spec is the program's BTF; if it is nil, lines and
// functions are left out.
func Instructions(raw *syscall.ProgramCode, spec *btf.Spec) (asm.Instructions, error) {
	insns, err := asm.AppendInstructions(nil, bytes.NewReader(raw.Insns), syscall.HostOrder(), "linux")
	if err != nil {
		return nil, fmt.Errorf("parse instructions: %w", err)
	}
	if spec == nil {
		return insns, nil
	}
	lines, err := btf.LoadLineInfos(bytes.NewReader(raw.Lines), binary.NativeEndian, uint32(len(raw.Lines)/LineSize), spec)
	if err != nil {
		return nil, err
	}
	lineAt := make(map[asm.RawInstructionOffset]*btf.Line, len(lines))
	for _, l := range lines {
		lineAt[l.Offset] = l.Line
	}
	funcs, err := btf.LoadFuncInfos(bytes.NewReader(raw.Funcs), binary.NativeEndian, uint32(len(raw.Funcs)/FuncSize), spec)
	if err != nil {
		return nil, err
	}
	funcAt := make(map[asm.RawInstructionOffset]*btf.Func, len(funcs))
	for _, f := range funcs {
		funcAt[f.Offset] = f.Func
	}
	for it := insns.Iterate(); it.Next(); {
		if l := lineAt[it.Offset]; l != nil {
			*it.Ins = it.Ins.WithSource(l)
		}
		if f := funcAt[it.Offset]; f != nil {
			*it.Ins = btf.WithFuncMetadata(*it.Ins, f)
		}
	}
	return insns, nil
}
