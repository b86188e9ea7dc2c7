package conform

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

const (
	rawTracepoint = ebpf.RawTracepoint
	verifier      = "kernel/bpf/verifier.c, "
)

var _ = register(RingBuf,
	Rule{
		Name:      "verifier-null",
		Statement: "A reservation that was not compared with NULL cannot be written to.",
		Source:    verifier + "check_mem_access",
		check: func(t *T) {
			t.refused(rawTracepoint, program(
				theMap(asm.R1, t.create(ringSpec(page))), set(asm.R2, 16), set(asm.R3, 0), asm.FnRingbufReserve.Call(),
				asm.StoreImm(asm.R0, 0, 0, asm.Word), submit(asm.R0, 0), ret(0),
			), "mem_or_null'")
		},
	},
	Rule{
		Name:      "verifier-leak",
		Statement: "A program that ends with a record neither submitted nor discarded is refused.",
		Source:    verifier + "check_reference_leak",
		check: func(t *T) {
			t.refused(rawTracepoint, program(
				reserve(t.create(ringSpec(page)), 16, "full"), ret(0), at("full", set(asm.R0, 1)), asm.Return(),
			), "Unreleased reference")
		},
	},
	Rule{
		Name:      "verifier-commit-once",
		Statement: "A record cannot be committed twice, nor written to after its commit.",
		Source:    verifier + "release_reference",
		check: func(t *T) {
			m := t.create(ringSpec(page))
			twice := program(reserve(m, 16, "full"), mov(asm.R7, asm.R0), submit(asm.R7, 0), submit(asm.R7, 0), ret(0),
				at("full", set(asm.R0, 1)), asm.Return())
			t.refused(rawTracepoint, twice, "R7 !read_ok", "R1 type=inv expected=", "R1 type=scalar expected=")
			after := program(reserve(m, 16, "full"), mov(asm.R7, asm.R0), submit(asm.R7, 0),
				asm.StoreImm(asm.R7, 0, 1, asm.Word), ret(0), at("full", set(asm.R0, 1)), asm.Return())
			t.refused(rawTracepoint, after, "R7 !read_ok", "R7 invalid mem access 'inv'", "R7 invalid mem access 'scalar'")
		},
	},
	Rule{
		Name:      "verifier-bounds",
		Statement: "A record cannot be written to beyond the size that was reserved.",
		Source:    verifier + "check_mem_region_access",
		check: func(t *T) {
			t.refused(rawTracepoint, program(
				reserve(t.create(ringSpec(page)), 16, "full"), mov(asm.R7, asm.R0),
				asm.StoreImm(asm.R7, 13, 0, asm.Word), submit(asm.R7, 0), ret(0),
				at("full", set(asm.R0, 1)), asm.Return(),
			), "invalid access to memory, mem_size=16 off=13 size=4")
		},
	},
	Rule{
		Name:      "verifier-commit-start",
		Statement: "A record can be committed only by the pointer that the reservation returned, not by a pointer into the record.",
		Source:    verifier + "check_func_arg_reg_off (Linux 5.17)",
		check: func(t *T) {
			t.refusedUnless("the verifier lets a program commit a pointer into the record: the kernel would take the bytes before it for a header",
				rawTracepoint, program(
					reserve(t.create(ringSpec(page)), 16, "full"), mov(asm.R7, asm.R0), asm.Add.Imm(asm.R7, 8),
					submit(asm.R7, 0), ret(0),
					at("full", set(asm.R0, 1)), asm.Return(),
				), "must have zero offset when passed to release func", "dereference of modified alloc_mem ptr",
				"dereference of modified ringbuf_mem ptr", "dereference of modified mem ptr")
		},
	},
	Rule{
		Name:      "verifier-constant-size",
		Statement: "bpf_ringbuf_reserve accepts only a constant size.",
		Source:    verifier + "check_func_arg, ARG_CONST_ALLOC_SIZE_OR_ZERO",
		check: func(t *T) {
			body := program(reserve(t.create(ringSpec(page)), 16, "full"), submit(asm.R0, 0), ret(0),
				at("full", set(asm.R0, 1)), asm.Return())
			body[2] = arg(asm.R2, 0)
			bounded := join(body[:3], asm.And.Imm(asm.R2, 15), body[3:])
			t.refused(rawTracepoint, bounded, "R2 is not a known constant", "R2 is not a const", "R2 unbounded size")
		},
	},
	Rule{
		Name:      "dynptr",
		Statement: "bpf_ringbuf_reserve_dynptr reserves a record of a size that is not constant.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_reserve_dynptr (Linux 5.19)",
		check: func(t *T) {
			r := t.ring()
			p := t.load(rawTracepoint, dynptrRecord(r.m))
			for i, n := range []uint64{100, 200} {
				equal(t, "result", t.call(p, n, 0), 0)
				r.record([]ring.Pos{0, ring.Pos(ring.Span(100))}[i], ring.Header(n))
			}
		},
	},
	Rule{
		Name:      "dynptr-full",
		Statement: "bpf_ringbuf_reserve_dynptr returns -EINVAL if the ring is full, and for any flag.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_reserve_dynptr (Linux 5.19)",
		check: func(t *T) {
			r := t.ring()
			p := t.load(rawTracepoint, dynptrRecord(r.m))
			equal(t, "result with room", t.call(p, uint64(page/2), 0), 0)
			equal(t, "result without room", t.call(p, uint64(page/2), 0), -int32(unix.EINVAL))
			equal(t, "result with a flag", t.call(p, 8, 1), -int32(unix.EINVAL))
			equal(t, "producer position", r.ProducerPos(), ring.Pos(ring.Span(uint32(page/2))))
		},
	},
	Rule{
		Name:      "dynptr-limit",
		Statement: "A dynptr holds less than 16 MiB: bpf_ringbuf_reserve_dynptr of more returns -E2BIG.",
		Source:    "kernel/bpf/helpers.c, bpf_dynptr_check_size (Linux 5.19)",
		check: func(t *T) {
			p := t.load(rawTracepoint, dynptrRecord(t.ring().m))
			equal(t, "result for 16 MiB", t.call(p, 1<<24, 0), -int32(unix.E2BIG))
			equal(t, "result for a byte less, which finds no room", t.call(p, 1<<24-1, 0), -int32(unix.EINVAL))
		},
	},
	Rule{
		Name:      "dynptr-leak",
		Statement: "A dynptr from bpf_ringbuf_reserve_dynptr must be submitted or discarded, even if the reservation failed.",
		Source:    verifier + "check_reference_leak (Linux 5.19)",
		check: func(t *T) {
			m := t.create(ringSpec(page))
			t.refused(rawTracepoint, program(reserveDynptr(m), ret(0)), "Unreleased reference")
			t.refused(rawTracepoint, program(
				reserveDynptr(m), asm.JNE.Imm(asm.R0, 0, "failed"), commitDynptr(asm.FnRingbufSubmitDynptr),
				at("failed", set(asm.R0, 0)), asm.Return(),
			), "Unreleased reference")
		},
	},
)

// reserveDynptr returns code that reserves a record as a dynptr on the stack. The program's arguments are
// the size and the flags.
func reserveDynptr(m *ebpf.Map) code {
	return code{
		theMap(asm.R1, m), arg(asm.R2, 0), arg(asm.R3, 1),
		mov(asm.R4, asm.R10), asm.Add.Imm(asm.R4, -16), asm.FnRingbufReserveDynptr.Call(),
	}
}

func commitDynptr(how asm.BuiltinFunc) code {
	return code{mov(asm.R1, asm.R10), asm.Add.Imm(asm.R1, -16), set(asm.R2, 0), how.Call()}
}

// dynptrRecord returns a program that reserves and submits a record as a dynptr, and returns the result of
// the reservation.
func dynptrRecord(m *ebpf.Map) code {
	return program(
		reserveDynptr(m), mov(asm.R7, asm.R0), commitDynptr(asm.FnRingbufSubmitDynptr),
		mov(asm.R0, asm.R7), asm.Return(),
	)
}

// Flags of bpf_ringbuf_submit and bpf_ringbuf_discard, include/uapi/linux/bpf.h.
const (
	noWakeupFlag    = 1 << 0 // BPF_RB_NO_WAKEUP
	forceWakeupFlag = 1 << 1 // BPF_RB_FORCE_WAKEUP
)

var _ = register(RingBuf,
	Rule{
		Name:      "wakeup-when-caught-up",
		Statement: "A commit without flags wakes the consumer if consumer_pos is at the record.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			output(8, 0)
			wake.comes("the first record")
			r.empty()
			output(8, 0)
			wake.comes("a record after all was consumed")
		},
	},
	Rule{
		Name:      "no-wakeup-when-behind",
		Statement: "A commit without flags does not wake a consumer that has an earlier record to consume.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			output(8, 0)
			wake.comes("the first record")
			output(8, 0)
			wake.doesNotCome("a record behind one that is not consumed")
		},
	},
	Rule{
		Name:      "wakeup-flag-no",
		Statement: "A commit with BPF_RB_NO_WAKEUP does not wake the consumer, even if consumer_pos is at the record.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			equal(t, "result", output(8, noWakeupFlag), 0)
			wake.doesNotCome("BPF_RB_NO_WAKEUP")
			r.record(0, 8)
		},
	},
	Rule{
		Name:      "wakeup-flag-force",
		Statement: "A commit with BPF_RB_FORCE_WAKEUP wakes the consumer even if it has an earlier record to consume.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			output(8, noWakeupFlag)
			output(8, 0)
			wake.doesNotCome("a record behind one that is not consumed")
			output(8, forceWakeupFlag)
			wake.comes("BPF_RB_FORCE_WAKEUP")
		},
	},
	Rule{
		Name:      "wakeup-of-discard",
		Statement: "A discard wakes the consumer as a submit does, although there is nothing to read.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			wake := t.sleeper(r.m, unix.EPOLLIN)
			p := t.load(rawTracepoint, oneRecord(r.m, 8, discard, 0))
			t.call(p, 1)
			wake.comes("a discarded record")
		},
	},
	Rule{
		Name:      "poll",
		Statement: "poll(2) reports POLLIN as long as there are bytes that are not consumed.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_poll_kern",
		check: func(t *T) {
			r := t.ring()
			equal(t, "ready while empty", t.ready(r.m, unix.POLLIN), false)
			t.outputter(r.m)(8, noWakeupFlag)
			equal(t, "ready with a record", t.ready(r.m, unix.POLLIN), true)
			r.empty()
			equal(t, "ready after it is consumed", t.ready(r.m, unix.POLLIN), false)
		},
	},
)
