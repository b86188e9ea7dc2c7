package conform

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
)

const eagain = -int32(unix.EAGAIN)

var _ = register(RingBuf,
	Rule{
		Name:      "reserve-submit",
		Statement: "A record that was reserved and submitted has its length in its header, and occupies its length plus 8 bytes, rounded up to a multiple of 8.",
		Source:    "kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			p := t.load(ebpf.RawTracepoint, oneRecord(r.m, 13, submit, 0))
			equal(t, "room", t.call(p, 0x1122334455667788), 0)
			payload := r.record(0, 13)
			equal(t, "payload", binary.NativeEndian.Uint64(payload), 0x1122334455667788)
			equal(t, "producer position", r.ProducerPos(), 24)
		},
	},
	Rule{
		Name:      "reserve-discard",
		Statement: "A discarded record stays in the ring, with the DISCARD bit in its header.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			equal(t, "room", t.call(t.load(ebpf.RawTracepoint, oneRecord(r.m, 16, discard, 0)), 1), 0)
			r.record(0, 16|ring.DiscardBit)
			equal(t, "producer position", r.ProducerPos(), 24)
		},
	},
	Rule{
		Name:      "output",
		Statement: "bpf_ringbuf_output copies the data into a record and submits it.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_output",
		check: func(t *T) {
			r := t.ring()
			equal(t, "result", t.outputter(r.m)(301, 0), 0)
			payload := r.record(0, 301)
			equal(t, "byte 300", payload[300], pattern(300))
			equal(t, "producer position", r.ProducerPos(), ring.Pos(ring.Span(301)))
		},
	},
	Rule{
		Name:      "output-flags",
		Statement: "bpf_ringbuf_output with an unknown flag returns -EINVAL and writes nothing.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_output",
		check: func(t *T) {
			r := t.ring()
			equal(t, "result", t.outputter(r.m)(8, 1<<2), -int32(unix.EINVAL))
			equal(t, "producer position", r.ProducerPos(), 0)
		},
	},
	Rule{
		Name:      "reserve-flags",
		Statement: "bpf_ringbuf_reserve accepts no flags: with any flag it returns NULL and reserves nothing.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_reserve",
		check: func(t *T) {
			r := t.ring()
			body := oneRecord(r.m, 16, submit, 0)
			for i := range body {
				if body[i].OpCode == set(asm.R3, 0).OpCode && body[i].Dst == asm.R3 {
					body[i].Constant = 1 // set the flags argument to 1
				}
			}
			equal(t, "no room", t.call(t.load(ebpf.RawTracepoint, body), 1), 1)
			equal(t, "producer position", r.ProducerPos(), 0)
		},
	},
	Rule{
		Name:      "busy-bit",
		Statement: "A reserved record has the BUSY bit in its header until it is committed.",
		Source:    "kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve",
		check: func(t *T) {
			r := t.ring()
			headers := twoRecords(t, r.m)
			equal(t, "header of the first while both are reserved", headers[0], 16|ring.BusyBit)
			equal(t, "header of the second while both are reserved", headers[1], 16|ring.BusyBit)
			r.record(0, 16)
		},
	},
	Rule{
		Name:      "order-of-reservation",
		Statement: "Records are in the order of their reservation, not of their commit: a committed record can follow an earlier record that is still BUSY.",
		Source:    "Documentation/bpf/ringbuf.rst; kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve",
		check: func(t *T) {
			r := t.ring()
			headers := twoRecords(t, r.m)
			equal(t, "header of the first after the second is committed", headers[2], 16|ring.BusyBit)
			equal(t, "header of the second after it is committed", headers[3], 16)
			first, second := r.record(0, 16), r.record(24, 16)
			equal(t, "number of the first", binary.NativeEndian.Uint64(first), 1)
			equal(t, "number of the second", binary.NativeEndian.Uint64(second), 2)
		},
	},
	Rule{
		Name:      "full-fails",
		Statement: "A reservation in a full ring fails at once, with NULL or -EAGAIN, and the ring keeps its records.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_has_space",
		check: func(t *T) {
			r := t.ring()
			n := page / 4 // four of them and their headers do not fit
			p := t.load(ebpf.RawTracepoint, oneRecord(r.m, int32(n), submit, 0))
			for i := range uint64(3) {
				equal(t, "no room for one of the first three", t.call(p, i), 0)
			}
			before := r.ProducerPos()
			equal(t, "no room for the fourth", t.call(p, 3), 1)
			equal(t, "result of bpf_ringbuf_output", t.outputter(r.m)(n, 0), eagain)
			equal(t, "producer position", r.ProducerPos(), before)
			equal(t, "number of the first", binary.NativeEndian.Uint64(r.record(0, ring.Header(n))), 0)
		},
	},
	Rule{
		Name:      "capacity",
		Statement: "A ring holds at most its size less 8 bytes: its largest record has 16 bytes less than the ring.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_has_space",
		check: func(t *T) {
			r := t.ring()
			output := t.outputter(r.m)
			equal(t, "the smallest that does not fit", output(page-16+1, 0), eagain)
			equal(t, "the largest that fits", output(page-16, 0), 0)
			equal(t, "producer position", r.ProducerPos(), ring.Pos(page-8))
			equal(t, "an empty record behind it", output(0, 0), eagain)
		},
	},
	Rule{
		Name:      "record-larger-than-ring",
		Statement: "A reservation larger than the ring fails even if the ring is empty.",
		Source:    "kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve",
		check: func(t *T) {
			r := t.ring()
			equal(t, "result", t.outputter(r.m)(page+8, 0), eagain)
			equal(t, "producer position", r.ProducerPos(), 0)
		},
	},
	Rule{
		Name:      "record-limit",
		Statement: "A reservation of more than UINT_MAX/4 bytes, which the header's length cannot hold, returns NULL.",
		Source:    "kernel/bpf/ringbuf.c, RINGBUF_MAX_RECORD_SZ",
		check: func(t *T) {
			r := t.ring()
			equal(t, "no room", t.call(t.load(ebpf.RawTracepoint, oneRecord(r.m, 1<<30, submit, 0)), 1), 1)
			equal(t, "producer position", r.ProducerPos(), 0)
		},
	},
	Rule{
		Name:      "wrap",
		Statement: "A record that wraps around the end of the ring is contiguous in memory, for the program and for the consumer.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_area_alloc",
		check: func(t *T) {
			r := t.ring()
			output := t.outputter(r.m)
			equal(t, "first record", output(page-512, 0), 0)
			r.empty()
			pos := r.ProducerPos()
			equal(t, "record over the end", output(1024, 0), 0)
			payload := r.record(pos, 1024)
			for i, b := range payload {
				if b != pattern(i) {
					t.differs("byte %d of the record over the end: %#x, want %#x", i, b, pattern(i))
				}
			}
		},
	},
	Rule{
		Name:      "pending-limit",
		Statement: "No reservation extends more than the ring's size beyond the oldest record that is not committed, whatever consumer_pos is.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_has_space (Linux 6.10, and stable kernels after it)",
		check: func(t *T) {
			r := t.ring()
			p, err := producer.Load(r.m)
			t.must(err, "load producer")
			t.cleanup(func() { p.Close() })
			spec := t.spec(ebpf.Syscall, program(asm.FnCopyFromUser.Call()))
			t.needHelpers(spec)
			_, err = p.Hold(0, 8)
			t.must(err, "hold a record")
			output := t.outputter(r.m)
			equal(t, "result after the held record", output(page/2, 0), 0)
			r.empty() // consumes the BUSY record, which a correct consumer does not do
			if output(page/2, 0) == 0 {
				t.no("if consumer_pos is beyond a record that is not committed, a reservation can overlap that record")
			}
			equal(t, "producer position", r.ProducerPos(), ring.Pos(16).Next(uint32(page/2)))
		},
	},
)

// twoRecords runs a program that reserves two records of 16 bytes, and submits the second, then the first.
// It returns the headers of both before the first commit, then both headers after the first commit.
func twoRecords(t *T, m *ebpf.Map) []ring.Header {
	out := t.output()
	// header returns code that copies a record's header to word i of out. Word from of out has the record's
	// address.
	header := func(i, from uint32) code {
		return code{
			out.addr(asm.R1, from), asm.LoadMem(asm.R3, asm.R1, 0, asm.DWord), asm.Add.Imm(asm.R3, -ring.HeaderSize),
			out.addr(asm.R1, i), set(asm.R2, 4), asm.FnProbeReadKernel.Call(),
		}
	}
	const first, second = 4, 5 // words of out that have the records' addresses
	p := t.load(ebpf.RawTracepoint, program(
		reserve(m, 16, "full"), mov(asm.R7, asm.R0), asm.StoreImm(asm.R7, 0, 1, asm.Word), out.put(first, asm.R7, asm.R1),
		reserve(m, 16, "one"), mov(asm.R8, asm.R0), asm.StoreImm(asm.R8, 0, 2, asm.Word), out.put(second, asm.R8, asm.R1),
		header(0, first), header(1, second),
		submit(asm.R8, 0),
		header(2, first), header(3, second),
		submit(asm.R7, 0), ret(0),
		at("one", mov(asm.R1, asm.R7)), set(asm.R2, 0), asm.FnRingbufDiscard.Call(),
		at("full", set(asm.R0, 1)), asm.Return(),
	))
	equal(t, "no room", t.call(p), 0)
	var headers []ring.Header
	for _, w := range out.words()[:4] {
		headers = append(headers, ring.Header(w))
	}
	return headers
}
