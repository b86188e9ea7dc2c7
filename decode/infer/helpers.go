package infer

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/once"
)

// Helpers that take a ring as their first argument.
const (
	callReserve = "bpf_ringbuf_reserve"
	callOutput  = "bpf_ringbuf_output"
	callDynptr  = "bpf_ringbuf_reserve_dynptr"
	callQuery   = "bpf_ringbuf_query" // produces no record
	callDrain   = "bpf_user_ringbuf_drain"
)

// helpers identifies the helper that an instruction calls. In the kernel's dump of a program, the immediate of a
// call is the distance of the helper's address from __bpf_call_base (kernel/bpf/verifier.c, fixup_bpf_calls or
// do_misc_fixups). Without CAP_SYSLOG, or with kernel.kptr_restrict, the immediate is 0 (bpf_insn_prepare_dump),
// and /proc/kallsyms shows no addresses.
type helpers struct {
	names map[int32]string // by distance from __bpf_call_base
}

var readHelpers = once.Func(func() (*helpers, error) {
	h := &helpers{names: map[int32]string{}}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	addr := map[string]uint64{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		line := s.Text()
		if !strings.Contains(line, "ringbuf_") && !strings.Contains(line, "__bpf_call_base") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 { // a fourth field names a module
			continue
		}
		switch fields[2] {
		case callReserve, callOutput, callDynptr, callQuery, callDrain, "__bpf_call_base":
			addr[fields[2]], _ = strconv.ParseUint(fields[0], 16, 64)
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	base := addr["__bpf_call_base"]
	for name, a := range addr {
		if base != 0 && a != 0 {
			h.names[int32(a-base)] = name
		}
	}
	return h, nil
})

// name returns the name of the helper that ins calls with the ring as its first argument. If the
// kernel hides the helper, name derives it from the source line or from the other arguments: how is then byLine
// or byArguments.
func (h *helpers) name(ins *asm.Instruction, line string, s *state) (name, how string) {
	if ins.Constant != 0 {
		if name := h.names[int32(ins.Constant)]; name != "" {
			return name, ""
		}
	}
	for _, name := range []string{callDynptr, callReserve, callOutput, callQuery, callDrain} {
		if strings.Contains(line, name+"(") {
			return name, byLine
		}
	}
	data, size := s.regs[asm.R2], s.regs[asm.R3]
	switch {
	case data.kind > constant && size.kind == constant:
		return callOutput, byArguments
	case data.kind == constant && data.off > maxQuery && size.kind == constant:
		return callReserve, byArguments
	}
	return "", ""
}

// How the name of a helper that the kernel hides was found.
const (
	byLine      = "the kernel hides the helper; its source line names it"
	byArguments = "the kernel hides the helper; its arguments identify it"
)

// maxQuery is BPF_RB_OVERWRITE_POS, the largest flag of bpf_ringbuf_query. A larger second argument is a size.
const maxQuery = 4
