package conform

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/ring"
)

var _ = register(ZeroSize,
	Rule{
		Name:      "null-and-zero",
		Statement: "(NULL, 0) is accepted where the pointer may be NULL and the size zero (ARG_PTR_TO_MEM_OR_NULL, ARG_CONST_SIZE_OR_ZERO).",
		Source:    verifier + "check_helper_mem_access: zero_size_allowed",
		check: func(t *T) {
			p := t.load(ebpf.SchedCLS, nullToChecksum(0))
			ret, err := t.k.run(p, &ebpf.RunOptions{Data: make([]byte, 14)}) // an Ethernet header
			t.must(err, "run program")
			equal(t, "checksum of nothing, which is the seed", ret, 5)
		},
	},
	Rule{
		Name:      "null-and-more",
		Statement: "(NULL, 8) is refused there.",
		Source:    verifier + "check_helper_mem_access",
		check: func(t *T) {
			t.refused(ebpf.SchedCLS, nullToChecksum(8), "R1 type=inv expected=fp", "R1 type=scalar expected=fp", "R1 invalid mem access",
				"accepted pointer or scalar types")
		},
	},
	Rule{
		Name:      "null-pointer-refused",
		Statement: "(NULL, 0) is refused where only the size may be zero, as in bpf_probe_read_kernel: the pointer must be one.",
		Source:    verifier + "check_reg_type",
		check: func(t *T) {
			t.refused(rawTracepoint, program(
				set(asm.R1, 0), set(asm.R2, 0), mov(asm.R3, asm.R10), asm.FnProbeReadKernel.Call(), asm.Return(),
			), "R1 type=inv expected=fp", "R1 type=scalar expected=fp", "accepted pointer or scalar types")
		},
	},
	Rule{
		Name:      "null-refused",
		Statement: "(NULL, 0) is refused where the size may not be zero (ARG_CONST_SIZE).",
		Source:    verifier + "check_helper_mem_access",
		check: func(t *T) {
			t.refused(rawTracepoint, program(
				set(asm.R1, 0), set(asm.R2, 0), asm.FnGetCurrentComm.Call(), asm.Return(),
			), "R1 type=inv expected=fp", "R1 type=scalar expected=fp", "accepted pointer or scalar types")
		},
	},
	Rule{
		Name:      "zero-refused",
		Statement: "A size of zero is refused there for any pointer, also where it is only possible.",
		Source:    verifier + "check_mem_size_reg",
		check: func(t *T) {
			body := func(size ...any) code {
				return program(mov(asm.R1, asm.R10), asm.Add.Imm(asm.R1, -16), join(size...), asm.FnGetCurrentComm.Call(), asm.Return())
			}
			messages := []string{"invalid zero-sized", "invalid stack type R1 off=-16 access_size=0", "R2 invalid zero-sized"}
			t.refused(rawTracepoint, body(set(asm.R2, 0)), messages...)
			t.refused(rawTracepoint, body(arg(asm.R2, 0), asm.And.Imm(asm.R2, 15)), messages...)
			t.load(rawTracepoint, body(set(asm.R2, 16)))
		},
	},
	Rule{
		Name:      "variable-from-zero",
		Statement: "A size that may be zero at run time is accepted for ARG_CONST_SIZE_OR_ZERO.",
		Source:    verifier + "check_mem_size_reg",
		check: func(t *T) {
			out := t.output()
			p := t.load(rawTracepoint, program(
				out.addr(asm.R1, 0), arg(asm.R2, 0), asm.And.Imm(asm.R2, 15), out.addr(asm.R3, 8), asm.FnProbeReadKernel.Call(), asm.Return(),
			))
			out.give(8, 0x0807060504030201)
			equal(t, "result with 0 bytes", t.call(p, 0), 0)
			equal(t, "word after 0 bytes", out.words()[0], 0)
			equal(t, "result with 3 bytes", t.call(p, 3), 0)
			equal(t, "word after 3 bytes", out.words()[0], 0x030201)
		},
	},
	Rule{
		Name:      "output-nothing",
		Statement: "bpf_ringbuf_output of no bytes makes a record without payload.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_output_proto",
		check: func(t *T) {
			r := t.ring()
			equal(t, "result", t.outputter(r.m)(0, 0), 0)
			r.record(0, 0)
			equal(t, "producer position", r.ProducerPos(), ring.HeaderSize)
		},
	},
	Rule{
		Name:      "reserve-nothing",
		Statement: "bpf_ringbuf_reserve of no bytes gives a record without payload.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_reserve_proto: ARG_CONST_ALLOC_SIZE_OR_ZERO",
		check: func(t *T) {
			r := t.ring()
			p := t.load(rawTracepoint, program(
				reserve(r.m, 0, "full"), submit(asm.R0, 0), ret(0), at("full", set(asm.R0, 1)), asm.Return(),
			))
			equal(t, "no room", t.call(p), 0)
			r.record(0, 0)
			equal(t, "producer position", r.ProducerPos(), ring.HeaderSize)
		},
	},
)

// nullToChecksum is a program that has bpf_csum_diff take size bytes from NULL.
func nullToChecksum(size int32) code {
	return program(
		set(asm.R1, 0), set(asm.R2, size), set(asm.R3, 0), set(asm.R4, 0), set(asm.R5, 5),
		asm.FnCsumDiff.Call(), asm.Return(),
	)
}
