package conform

import (
	"encoding/binary"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

const drainSource = "kernel/bpf/ringbuf.c, bpf_user_ringbuf_drain (Linux 6.1)"
const peekSource = "kernel/bpf/ringbuf.c, __bpf_user_ringbuf_peek (Linux 6.1)"

var _ = register(UserRingBuf,
	Rule{
		Name:      "drain",
		Statement: "A drain calls the callback for each sample, returns the number of samples, and frees their space.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			for i := range uint64(3) {
				u.put(ring.Header(8+i), 100+i)
			}
			w := d.drain(0)
			equal(t, "result", w[drainResult], 3)
			equal(t, "calls", w[drainCalls], 3)
			equal(t, "sum of the samples", w[drainSum], 303)
			equal(t, "consumer position", u.consumed(), u.pos)
		},
	},
	Rule{
		Name:      "drain-empty",
		Statement: "A drain of an empty ring returns 0.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			w := d.drain(0)
			equal(t, "result", w[drainResult], 0)
			equal(t, "calls", w[drainCalls], 0)
			u.put(8, 1)
			equal(t, "result with a sample", d.result(0), 1)
		},
	},
	Rule{
		Name:      "drain-full",
		Statement: "A user ring can be completely full: its largest sample has 8 bytes less than the ring.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			u.put(ring.Header(page-ring.HeaderSize), 5)
			w := u.drainer(0).drain(0)
			equal(t, "result", w[drainResult], 1)
			equal(t, "sum of the samples", w[drainSum], 5)
			equal(t, "consumer position", u.consumed(), uint64(page))
		},
	},
	Rule{
		Name:      "drain-wrap",
		Statement: "A sample that wraps around the end of the ring is contiguous for the program.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_area_alloc",
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			u.put(ring.Header(page-16-8), 1) // ends 16 bytes before the end of the ring
			equal(t, "result", d.result(0), 1)
			u.put(64, 0xabcd) // the sample's first 8 bytes are the last 8 bytes of the ring
			w := d.drain(0)
			equal(t, "result over the end", w[drainResult], 1)
			equal(t, "first 8 bytes", w[drainSum], 0xabcd)
			equal(t, "consumer position", u.consumed(), u.pos)
		},
	},
	Rule{
		Name:      "busy-stops",
		Statement: "A drain stops at a BUSY sample, and a drain after the sample's commit consumes it.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			pos := u.put(8|ring.BusyBit, 1)
			u.put(8, 2)
			equal(t, "result while the first is BUSY", d.result(0), 0)
			equal(t, "consumer position", u.consumed(), pos)
			u.header(pos, 8)
			equal(t, "result after it is committed", d.result(0), 2)
		},
	},
	Rule{
		Name:      "discard-skipped",
		Statement: "A drain consumes a discarded sample without calling the callback, and does not count it.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			u.put(8, 1)
			u.put(8|ring.DiscardBit, 10)
			u.put(8, 100)
			w := u.drainer(0).drain(0)
			equal(t, "result", w[drainResult], 2)
			equal(t, "sum of the samples", w[drainSum], 101)
			equal(t, "consumer position", u.consumed(), u.pos)
		},
	},
	Rule{
		Name:      "discard-before-busy",
		Statement: "A drain consumes a sample that is both BUSY and DISCARD: setting DISCARD unblocks a ring whose oldest sample will not be committed.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			u.put(8|ring.BusyBit|ring.DiscardBit, 1)
			u.put(8, 2)
			w := u.drainer(0).drain(0)
			equal(t, "result", w[drainResult], 1)
			equal(t, "sum of the samples", w[drainSum], 2)
		},
	},
	Rule{
		Name:      "callback-stops",
		Statement: "A callback that returns 1 ends the drain; the sample that it was called for is consumed.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(1)
			u.put(8, 1)
			u.put(8, 10)
			w := d.drain(0)
			equal(t, "result", w[drainResult], 1)
			equal(t, "consumer position", u.consumed(), ring.Span(8))
			equal(t, "sum of the next drain", d.drain(0)[drainSum], 10)
		},
	},
	Rule{
		Name:      "drain-limit",
		Statement: "A drain consumes at most 131072 samples, including discarded samples.",
		Source:    "include/linux/bpf.h, BPF_MAX_USER_RINGBUF_SAMPLES (Linux 6.1)",
		check: func(t *T) {
			const limit = 128 << 10
			u := t.userRing(2 << 20)
			out := t.output()
			d := u.drainerWith(out, ret(0))
			for i := range uint64(limit + 3) {
				h := ring.Header(0)
				if i < 2 {
					h = ring.DiscardBit
				}
				u.header(8*i, h)
			}
			u.publish(8 * (limit + 3))
			equal(t, "result of the first drain", d.result(0), limit-2)
			equal(t, "result of the second drain", d.result(0), 3)
		},
	},
	Rule{
		Name:      "drain-flags",
		Statement: "A drain with an unknown flag returns -EINVAL and drains nothing.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			u.put(8, 1)
			equal(t, "result", d.result(1<<2), -int32(unix.EINVAL))
			equal(t, "consumer position", u.consumed(), 0)
		},
	},
	Rule{
		Name:      "position-aligned",
		Statement: "A producer_pos that is not a multiple of 8 makes the drain return -EINVAL, and nothing advances.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			u.put(8, 1)
			u.publish(u.pos + 4)
			equal(t, "result", d.result(0), -int32(unix.EINVAL))
			equal(t, "consumer position", u.consumed(), 0)
			u.publish(u.pos)
			equal(t, "result when mended", d.result(0), 1)
		},
	},
	Rule{
		Name:      "sample-inside-position",
		Statement: "A sample that reaches beyond producer_pos makes the drain return -EINVAL; the samples before it are consumed and their number is lost.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			u.put(8, 1)
			u.put(64, 2)
			u.publish(u.pos - 8)
			w := u.drainer(0).drain(0)
			equal(t, "result", int32(w[drainResult]), -int32(unix.EINVAL))
			equal(t, "calls", w[drainCalls], 1)
			equal(t, "consumer position", u.consumed(), ring.Span(8))
		},
	},
	Rule{
		Name:      "sample-inside-ring",
		Statement: "A sample larger than the ring makes the drain return -E2BIG, and nothing advances.",
		Source:    peekSource,
		check: func(t *T) {
			u := t.userRing(page)
			u.header(0, ring.Header(page))
			u.publish(uint64(2 * page))
			equal(t, "result", u.drainer(0).result(0), -int32(unix.E2BIG))
			equal(t, "consumer position", u.consumed(), 0)
		},
	},
	Rule{
		Name:      "one-drain-at-a-time",
		Statement: "A drain of a ring that is already being drained, on any CPU, returns -EBUSY.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			out := t.output()
			// Call bpf_user_ringbuf_drain in the callback: this needs no second CPU.
			nested := code{
				theMap(asm.R1, u.m), callback(asm.R2, "inner"), set(asm.R3, 0), set(asm.R4, 0),
				asm.FnUserRingbufDrain.Call(),
			}
			pointer := &btf.Pointer{Target: &btf.Void{}}
			inner := function("inner", program(ret(0)), btf.FuncParam{Name: "sample", Type: pointer}, btf.FuncParam{Name: "ctx", Type: pointer})
			body := join(drains(u.m, out, nested, out.put(drainExtra, asm.R0, asm.R1), ret(0)), inner)
			d := drainer{t, t.load(rawTracepoint, body), out}
			u.put(8, 1)
			w := d.drain(0)
			equal(t, "result of the outer drain", w[drainResult], 1)
			equal(t, "result of the inner drain", int32(w[drainExtra]), -int32(unix.EBUSY))
		},
	},
)

var _ = register(UserRingBuf,
	Rule{
		Name:      "callback-values",
		Statement: "A callback can return only 0 or 1.",
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
				"cannot release unowned const bpf_dynptr", "arg 1 is an unacquired reference") // messages before 7.2, and in 6.1
		},
	},
	Rule{
		Name:      "sample-pointer-fixed",
		Statement: "A callback must pass the dynptr that it received, not a pointer at an offset from it.",
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
		Statement: "A sample is not a copy of the producer's memory: bpf_dynptr_write in a callback changes the ring.",
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

var _ = register(UserRingBuf,
	Rule{
		Name:      "wakeup",
		Statement: "A drain that consumed a sample wakes the producer.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			u.put(8, 1)
			equal(t, "result", d.result(0), 1)
			wake.comes("a drain")
		},
	},
	Rule{
		Name:      "wakeup-not-for-nothing",
		Statement: "A drain that consumed no sample does not wake the producer.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			equal(t, "result", d.result(0), 0)
			wake.doesNotCome("a drain of nothing")
			u.put(8, 1)
			equal(t, "result with a sample", d.result(0), 1)
			wake.comes("a drain")
		},
	},
	Rule{
		Name:      "wakeup-flag-no",
		Statement: "A drain with BPF_RB_NO_WAKEUP does not wake the producer.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			u.put(8, 1)
			equal(t, "result", d.result(noWakeupFlag), 1)
			wake.doesNotCome("a drain with BPF_RB_NO_WAKEUP")
		},
	},
	Rule{
		Name:      "wakeup-flag-force",
		Statement: "A drain with BPF_RB_FORCE_WAKEUP wakes the producer even if it consumed no sample.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			equal(t, "result", d.result(forceWakeupFlag), 0)
			wake.comes("a drain with BPF_RB_FORCE_WAKEUP")
		},
	},
	Rule{
		Name:      "poll",
		Statement: "poll(2) reports POLLOUT unless the ring is full.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_poll_user (Linux 6.1)",
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			equal(t, "ready while empty", t.ready(u.m, unix.POLLOUT), true)
			u.put(ring.Header(page-ring.HeaderSize), 1)
			equal(t, "ready while full", t.ready(u.m, unix.POLLOUT), false)
			d.drain(0)
			equal(t, "ready after a drain", t.ready(u.m, unix.POLLOUT), true)
		},
	},
)
