package progreader

import (
	"encoding/binary"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/progcode"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Code returns the instructions of a program as the kernel dumps them, its source lines and its functions. If there is no
// such program, the error matches [fs.ErrNotExist].
func (r *Reader) Code(id ebpf.ProgramID) (*syscall.ProgramCode, error) {
	p := r.programs[id]
	if p == nil {
		return nil, fs.ErrNotExist
	}
	raw, err := r.copy(p.Insns, progcode.InsnSize)
	if err != nil {
		return nil, fmt.Errorf("read instructions: %w", err)
	}
	var used []*bpfMapEntry
	for _, id := range p.MapIds[:min(int(p.Maps), len(p.MapIds))] {
		if m := r.maps[ebpf.MapID(id)]; m != nil {
			used = append(used, m)
		}
	}
	dump(raw, used)
	lines, err := r.copy(p.Lines, progcode.LineSize)
	if err != nil {
		return nil, fmt.Errorf("read lines: %w", err)
	}
	funcs, err := r.copy(p.Funcs, progcode.FuncSize)
	if err != nil {
		return nil, fmt.Errorf("read functions: %w", err)
	}
	return &syscall.ProgramCode{Insns: raw, Lines: lines, Funcs: funcs}, nil
}

// Codes of instructions, and modes of which the verifier makes others (include/linux/filter.h).
const (
	classMask, ld, ldx, stx = 0x07, 0x00, 0x01, 0x03
	modeMask                = 0xe0
	mem, memSX              = 0x60, 0x80
	probeMem, probeMemSX    = 0x20, 0x40 // BPF_PROBE_MEM, BPF_PROBE_MEMSX
	probeMem32              = 0xa0       // BPF_PROBE_MEM32
	call, callArgs          = 0x85, 0xe5 // BPF_CALL_ARGS
	loadImm64               = 0x18
)

// dump changes instructions as the kernel does before it hands them out (kernel/bpf/syscall.c, bpf_insn_prepare_dump):
// the addresses of maps and their values become ids, and modes of the verifier's own those of programs.
func dump(raw []byte, used []*bpfMapEntry) {
	for i := 0; i+progcode.InsnSize <= len(raw); i += progcode.InsnSize {
		in := raw[i : i+progcode.InsnSize]
		switch code := in[0]; {
		case code == callArgs:
			in[0] = call
		case code&classMask == ldx && code&modeMask == probeMem, code&classMask > ld && code&classMask <= stx && code&modeMask == probeMem32:
			in[0] = code&^modeMask | mem
		case code&classMask == ldx && code&modeMask == probeMemSX:
			in[0] = code&^modeMask | memSX
		case code == loadImm64 && i+2*progcode.InsnSize <= len(raw): // a load of 64 bits, which has two parts
			next := raw[i+progcode.InsnSize : i+2*progcode.InsnSize]
			addr := uint64(binary.NativeEndian.Uint32(in[4:])) | uint64(binary.NativeEndian.Uint32(next[4:]))<<32
			for _, m := range used {
				if kind, off := find(m, addr); kind != 0 {
					in[1] = in[1]&0x0f | kind<<4
					binary.NativeEndian.PutUint32(in[4:], m.Id)
					binary.NativeEndian.PutUint32(next[4:], off)
				}
			}
			i += progcode.InsnSize
		}
	}
}

// find returns BPF_PSEUDO_MAP_FD if addr is that of the map, BPF_PSEUDO_MAP_VALUE and the offset if it is in its
// first value, and otherwise 0.
func find(m *bpfMapEntry, addr uint64) (kind byte, off uint32) {
	switch {
	case addr == m.Addr && addr != 0:
		return byte(asm.PseudoMapFD), 0
	case m.Values != 0 && ebpf.MapType(m.Type) == ebpf.Array && addr >= m.Values && addr-m.Values < uint64(m.ValueSize):
		return byte(asm.PseudoMapValue), uint32(addr - m.Values)
	}
	return 0, 0
}
