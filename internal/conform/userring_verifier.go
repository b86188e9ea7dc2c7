package conform

import (
	"encoding/binary"

	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/ring"
)

var _ = register(UserRingBuf,
	Rule{
		Name:      "callback-values",
		Statement: "A callback may return 0 and 1 only.",
		Source:    verifier + "prepare_func_exit (Linux 6.1)",
		check: func(t *T) {
			t.refused(rawTracepoint, drains(t.create(userSpec(page)), t.output(), ret(2)), "At callback return the register R0")
		},
	},
	Rule{
		Name:      "sample-not-overwritten",
		Statement: "A callback cannot write to its dynptr as to memory.",
		Source:    verifier + "check_mem_access (Linux 6.1)",
		check: func(t *T) {
			t.refused(rawTracepoint, drains(t.create(userSpec(page)), t.output(),
				asm.StoreImm(asm.R6, 0, 0, asm.Word), ret(0)), "R6 invalid mem access 'dynptr_ptr'", "R6 invalid mem access 'dynptr'",
				"cannot write into dynptr", "R6 cannot write")
		},
	},
	Rule{
		Name:      "sample-not-released",
		Statement: "A callback cannot submit its sample as if it were a reservation of its own.",
		Source:    verifier + "process_dynptr_func (Linux 6.1)",
		check: func(t *T) {
			t.refused(rawTracepoint, drains(t.create(userSpec(page)), t.output(),
				mov(asm.R1, asm.R6), set(asm.R2, 0), asm.FnRingbufSubmitDynptr.Call(), ret(0)),
				"CONST_PTR_TO_DYNPTR cannot be released",
				"cannot release unowned const bpf_dynptr", "arg 1 is an unacquired reference") // before 7.2, in 6.1
		},
	},
	Rule{
		Name:      "sample-pointer-fixed",
		Statement: "A callback must pass its dynptr as it got it, not with an offset.",
		Source:    verifier + "check_func_arg_reg_off (Linux 6.1)",
		check: func(t *T) {
			t.refused(rawTracepoint, drains(t.create(userSpec(page)), t.output(),
				asm.Add.Imm(asm.R6, 8), sum(t.output()), ret(0)),
				"cannot pass in dynptr at an offset", "dereference of modified dynptr_ptr ptr", "R3 must have zero offset",
				"negative offset dynptr_ptr", "R6 pointer arithmetic on dynptr_ptr prohibited")
		},
	},
	Rule{
		Name:      "sample-memory-writable",
		Statement: "The memory of a sample is the producer's own: bpf_dynptr_write of a callback changes it.",
		Source:    "kernel/bpf/ringbuf.c, bpf_user_ringbuf_drain: a DYNPTR_TYPE_LOCAL, not read-only (Linux 6.1)",
		check: func(t *T) {
			u := t.userRing(page)
			out := t.output()
			d := u.drainerWith(out,
				asm.StoreImm(asm.R10, -8, 7, asm.Word), asm.StoreImm(asm.R10, -4, 0, asm.Word),
				mov(asm.R1, asm.R6), set(asm.R2, 0), mov(asm.R3, asm.R10), asm.Add.Imm(asm.R3, -8),
				set(asm.R4, 8), set(asm.R5, 0), asm.FnDynptrWrite.Call(),
				out.put(drainExtra, asm.R0, asm.R1), ret(0),
			)
			u.put(8, 1)
			equal(t, "result of bpf_dynptr_write", int32(d.drain(0)[drainExtra]), 0)
			equal(t, "sample", binary.NativeEndian.Uint64(u.rest[page+ring.HeaderSize:]), 7)
		},
	},
)
