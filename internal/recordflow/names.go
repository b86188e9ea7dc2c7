package recordflow

import (
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// helperName is the name of the helper that an instruction calls, "" if unknown, and how it was found if the
// kernel hides it.
type helperName struct{ name, how string }

// nameOf returns the name of the helper that ins calls. If the kernel hides the helper, nameOf derives it from
// the source line, or if the first argument is the ring from the other arguments.
func (a *analysis) nameOf(p place, ins *asm.Instruction, s *state) helperName {
	if a.isRing(s.regs[asm.R1]) {
		return a.ringHelper(p, ins, s)
	}
	found, ok := a.names[p.ins]
	if ok {
		return found
	}
	if found.name = a.symbolOf(ins); found.name == "" {
		found = helperName{helperIn(a.code.lineOf(p.ins).Text), ByLine}
	}
	a.names[p.ins] = found
	return found
}

// symbolOf returns the name of the helper that ins calls, "" if the kernel hides it.
func (a *analysis) symbolOf(ins *asm.Instruction) string {
	if a.Helper == nil || ins.Constant == 0 {
		return ""
	}
	return helperOf(a.Helper(int32(ins.Constant)))
}

// ringHelper returns the name of the helper that ins calls with the ring as its first argument.
func (a *analysis) ringHelper(p place, ins *asm.Instruction, s *state) helperName {
	if name := a.symbolOf(ins); name != "" {
		return helperName{name, ""}
	}
	line := a.code.lineOf(p.ins).Text
	for _, name := range []string{ReserveDynptr, Reserve, Output, query, DrainHelper} {
		if strings.Contains(line, name+"(") {
			return helperName{name, ByLine}
		}
	}
	data, size := s.regs[asm.R2], s.regs[asm.R3]
	switch {
	case data.kind == pointer && size.kind == number:
		return helperName{Output, ByArguments}
	case data.isConstant() && data.min > maxQuery && size.isConstant():
		return helperName{Reserve, ByArguments}
	}
	return helperName{}
}

// maxQuery is BPF_RB_OVERWRITE_POS, the largest flag of bpf_ringbuf_query. A larger second argument is a size.
const maxQuery = 4

// isRing reports whether v can be the ring, or a ring out of a map of maps that holds it.
func (a *analysis) isRing(v value) bool {
	if v.kind != pointer {
		return false
	}
	for _, id := range a.members(v) {
		o := a.objects[id]
		if m := a.Maps[o.m]; m.Ring && (o.kind == mapItself && !isOuter(m.Type) || o.kind == inner) {
			return true
		}
	}
	return false
}

func isPerCPU(t ebpf.MapType) bool {
	return t == ebpf.PerCPUArray || t == ebpf.PerCPUHash || t == ebpf.LRUCPUHash
}

// isHash reports whether t is, or can be, a hash table: the types of maps are hidden from some users.
func isHash(t ebpf.MapType) bool {
	return t == ebpf.UnspecifiedMap || t == ebpf.Hash || t == ebpf.LRUHash || t == ebpf.PerCPUHash || t == ebpf.LRUCPUHash
}

// isOuter reports whether a map of type t holds maps.
func isOuter(t ebpf.MapType) bool { return t == ebpf.ArrayOfMaps || t == ebpf.HashOfMaps }
