package conform

import (
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
		Statement: "A drain calls back for each sample, gives their number, and gives their room back.",
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
		Statement: "A drain of an empty ring gives 0.",
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
		Statement: "A user ring can be completely full: one of 4 KiB carries a sample of 4088 bytes.",
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
			u.put(ring.Header(page-16-8), 1) // up to 16 bytes before the end
			equal(t, "result", d.result(0), 1)
			u.put(64, 0xabcd) // its first 8 bytes are the last of the ring
			w := d.drain(0)
			equal(t, "result over the end", w[drainResult], 1)
			equal(t, "first 8 bytes", w[drainSum], 0xabcd)
			equal(t, "consumer position", u.consumed(), u.pos)
		},
	},
	Rule{
		Name:      "busy-stops",
		Statement: "A drain stops in front of a BUSY sample, and takes it once it is committed.",
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
		Statement: "A discarded sample is passed without a callback, and does not count.",
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
		Statement: "A sample that is BUSY and discarded is passed: DISCARD frees a ring from a reservation that nobody will commit.",
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
		Statement: "A callback that returns 1 ends the drain; its own sample is consumed all the same.",
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
		Statement: "A drain passes at most 131072 samples, discarded ones included.",
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
		Statement: "A drain with an unknown flag gives -EINVAL and drains nothing.",
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
		Statement: "A producer_pos that is not a multiple of 8 makes the drain give -EINVAL, and nothing advances.",
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
		Statement: "A sample that reaches beyond producer_pos makes the drain give -EINVAL; the samples before it are consumed and their number is lost.",
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
		Statement: "A sample larger than the ring makes the drain give -E2BIG, and nothing advances.",
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
		Statement: "A drain of a ring that is being drained, on whatever CPU, gives -EBUSY.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			out := t.output()
			// The callback drains the same ring: no second CPU is needed.
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
