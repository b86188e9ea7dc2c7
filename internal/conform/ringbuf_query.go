package conform

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
)

// Flags of bpf_ringbuf_query, include/uapi/linux/bpf.h.
const (
	queryAvailData    = 0
	queryRingSize     = 1
	queryConsPos      = 2
	queryProdPos      = 3
	queryOverwritePos = 4
	queryUnknown      = 100
)

var _ = register(RingBuf,
	Rule{
		Name:      "query-avail-data",
		Statement: "bpf_ringbuf_query(BPF_RB_AVAIL_DATA) is the number of bytes not yet consumed, headers included.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_avail_data_sz",
		check: func(t *T) {
			r, query := queried(t)
			equal(t, "value", query(queryAvailData), ring.Span(100))
			r.empty()
			equal(t, "value when all is consumed", query(queryAvailData), 0)
		},
	},
	Rule{
		Name:      "query-ring-size",
		Statement: "bpf_ringbuf_query(BPF_RB_RING_SIZE) is the size that the ring was created with.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_total_data_sz",
		check: func(t *T) {
			_, query := queried(t)
			equal(t, "value", query(queryRingSize), uint64(page))
		},
	},
	Rule{
		Name:      "query-consumer-position",
		Statement: "bpf_ringbuf_query(BPF_RB_CONS_POS) is consumer_pos, as the consumer wrote it.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_query",
		check: func(t *T) {
			r, query := queried(t)
			equal(t, "value", query(queryConsPos), ring.Span(300))
			r.empty()
			equal(t, "value when all is consumed", ring.Pos(query(queryConsPos)), r.ProducerPos())
		},
	},
	Rule{
		Name:      "query-producer-position",
		Statement: "bpf_ringbuf_query(BPF_RB_PROD_POS) is producer_pos.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_query",
		check: func(t *T) {
			_, query := queried(t)
			equal(t, "value", query(queryProdPos), ring.Span(300)+ring.Span(100))
		},
	},
	Rule{
		Name:      "query-unknown",
		Statement: "bpf_ringbuf_query with a flag that the kernel does not know is 0.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_query",
		check: func(t *T) {
			_, query := queried(t)
			equal(t, "value", query(queryUnknown), 0)
			equal(t, "value of what it knows", query(queryRingSize), uint64(page))
		},
	},
	Rule{
		Name:      "overwrite-create",
		Statement: "A ring can be created with BPF_F_RB_OVERWRITE.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc (Linux 6.19)",
		check: func(t *T) {
			equal(t, "flags", t.flags(t.overwriteRing().m), mapflag.RBOverwrite)
		},
	},
	Rule{
		Name:      "overwrite-oldest",
		Statement: "A full ring in overwrite mode replaces its oldest records by new records, and only whole records.",
		Source:    "kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve (Linux 6.19)",
		check: func(t *T) {
			r := t.overwriteRing()
			output := t.outputter(r.m)
			// Four records fit into the ring, and each later record displaces one.
			n := ring.Header(quarter)
			span := ring.Pos(0).Next(n.Len())
			for range 10 {
				equal(t, "result of bpf_ringbuf_output", output(int(quarter), 0), 0)
			}
			equal(t, "producer position", r.ProducerPos(), 10*span)
			equal(t, "overwrite position", r.OverwritePos(), 6*span)
			for pos := r.OverwritePos(); pos < r.ProducerPos(); pos += span {
				r.record(pos, n)
			}
		},
	},
	Rule{
		Name:      "overwrite-busy",
		Statement: "In overwrite mode a record that is not committed is never overwritten: a reservation that would overwrite it fails.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_has_space (Linux 6.19)",
		check: func(t *T) {
			r := t.overwriteRing()
			out := t.output()
			// The program reserves the first record, fills the ring with others, and tries one more.
			body := program(
				reserve(r.m, quarter, "full"), mov(asm.R7, asm.R0),
			)
			memory := t.memory(int(quarter))
			for i := range uint32(4) {
				body = join(body,
					theMap(asm.R1, r.m), asm.LoadMapValue(asm.R2, memory.FD(), 0), set(asm.R3, quarter), set(asm.R4, 0),
					asm.FnRingbufOutput.Call(), out.put(i, asm.R0, asm.R1),
				)
			}
			p := t.load(ebpf.RawTracepoint, join(body, submit(asm.R7, 0), ret(0), at("full", set(asm.R0, 1)), asm.Return()))
			equal(t, "no room for the first", t.call(p), 0)
			for i, want := range []int32{0, 0, 0, eagain} {
				equal(t, "result of bpf_ringbuf_output", int32(out.words()[i]), want)
			}
			r.record(0, ring.Header(quarter))
		},
	},
	Rule{
		Name:      "query-overwrite-position",
		Statement: "bpf_ringbuf_query(BPF_RB_OVERWRITE_POS) is the position of the oldest record that was not overwritten.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_query (Linux 6.19)",
		check: func(t *T) {
			r := t.overwriteRing()
			output := t.outputter(r.m)
			for range 10 {
				output(int(quarter), 0)
			}
			equal(t, "value", querier(t, r.m)(queryOverwritePos), 6*ring.Span(uint32(quarter)))
			equal(t, "available data", querier(t, r.m)(queryAvailData), 4*ring.Span(uint32(quarter)))
		},
	},
)

// overwriteRing creates a ring of one page in overwrite mode.
func (t *T) overwriteRing() kernelRing {
	spec := ringSpec(page)
	spec.Flags = mapflag.RBOverwrite
	t.needMap(ebpf.RingBuf)
	m, err := t.k.createMap(spec)
	if err != nil {
		t.missing("ringbuf-overwrite", err)
	}
	t.cleanup(func() { m.Close() })
	return t.consume(m)
}

// queried returns a ring in which a record of 300 bytes is consumed and one of 100 bytes is not, and its
// querier.
func queried(t *T) (kernelRing, func(flag int32) uint64) {
	r := t.ring()
	output := t.outputter(r.m)
	equal(t, "first record", output(300, 0), 0)
	r.empty()
	equal(t, "second record", output(100, 0), 0)
	return r, querier(t, r.m)
}

// querier returns a function that runs a program which calls bpf_ringbuf_query, and returns its result.
func querier(t *T, m *ebpf.Map) func(flag int32) uint64 {
	out := t.output()
	p := t.load(ebpf.RawTracepoint, program(
		theMap(asm.R1, m), arg(asm.R2, 0), asm.FnRingbufQuery.Call(), out.put(0, asm.R0, asm.R1), ret(0),
	))
	return func(flag int32) uint64 {
		t.call(p, uint64(flag))
		return out.words()[0]
	}
}
