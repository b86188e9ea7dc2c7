package conform

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

const hashSource = "kernel/bpf/hashtab.c, "

var _ = register(Prealloc,
	Rule{
		Name:      "memory",
		Statement: "A hash has the memory of all its elements from the start; with BPF_F_NO_PREALLOC it does not.",
		Source:    hashSource + "prealloc_init, htab_map_mem_usage (in fdinfo as it is: Linux 6.4)",
		check: func(t *T) {
			with, without := memlock(t, t.create(hashSpec(10000, 0))), memlock(t, t.create(hashSpec(10000, unix.BPF_F_NO_PREALLOC)))
			if with == without {
				t.no("fdinfo reports the same estimate for both")
			}
			t.within("bytes for an element of 12 bytes", (int64(with)-int64(without))/10000, 12, 256)
		},
	},
	Rule{
		Name:      "no-growth",
		Statement: "An update of a preallocated hash allocates nothing; with BPF_F_NO_PREALLOC each new element does.",
		Source:    hashSource + "alloc_htab_elem, htab_map_mem_usage (in fdinfo: Linux 6.4)",
		check: func(t *T) {
			grows := func(flags uint32) uint64 {
				m := t.create(hashSpec(1000, flags))
				before := memlock(t, m)
				for i := range uint32(500) {
					t.must(m.Put(i, uint64(i)), "update")
				}
				return memlock(t, m) - before
			}
			equal(t, "growth", grows(0), 0)
			without := grows(unix.BPF_F_NO_PREALLOC)
			if without == 0 {
				t.no("fdinfo reports an estimate that does not change")
			}
			t.within("growth with BPF_F_NO_PREALLOC", int64(without), 500*16, 500*256)
		},
	},
	Rule{
		Name:      "full",
		Statement: "A full hash refuses a new key with E2BIG, preallocated or not, and accepts an update of a key that it has.",
		Source:    hashSource + "alloc_htab_elem",
		check: func(t *T) {
			for _, flags := range []uint32{0, unix.BPF_F_NO_PREALLOC} {
				m := t.create(hashSpec(4, flags))
				for i := range uint32(4) {
					t.must(m.Put(i, uint64(1)), "update")
				}
				t.fails("fifth key", m.Put(uint32(4), uint64(1)), unix.E2BIG)
				t.must(m.Put(uint32(3), uint64(2)), "update of a full hash")
				t.must(m.Delete(uint32(0)), "delete")
				t.must(m.Put(uint32(4), uint64(1)), "update after a delete")
			}
		},
	},
	Rule{
		Name:      "update-flags",
		Statement: "BPF_NOEXIST and BPF_EXIST make an update fail with EEXIST and ENOENT.",
		Source:    hashSource + "check_flags",
		check: func(t *T) {
			m := t.create(hashSpec(4, 0))
			t.fails("BPF_EXIST of a new key", m.Update(uint32(1), uint64(1), ebpf.UpdateExist), unix.ENOENT)
			t.must(m.Update(uint32(1), uint64(1), ebpf.UpdateNoExist), "BPF_NOEXIST of a new key")
			t.fails("BPF_NOEXIST of a known key", m.Update(uint32(1), uint64(1), ebpf.UpdateNoExist), unix.EEXIST)
			t.must(m.Update(uint32(1), uint64(2), ebpf.UpdateExist), "BPF_EXIST of a known key")
		},
	},
	Rule{
		Name:      "lru-preallocates",
		Statement: "An LRU hash with BPF_F_NO_PREALLOC is refused with ENOTSUPP; a full LRU hash evicts an element for a new key.",
		Source:    hashSource + "htab_map_alloc_check, prealloc_lru_pop",
		check: func(t *T) {
			spec := hashSpec(1024, unix.BPF_F_NO_PREALLOC)
			spec.Type = ebpf.LRUHash
			t.createFails("BPF_F_NO_PREALLOC", spec, enotsupp)
			spec.Flags = 0
			m := t.create(spec)
			// Stay on one CPU: the latest keys are in lists of their CPU, and another CPU would not evict them.
			t.on(t.cpus()[0], func() {
				for i := range uint32(4096) {
					t.must(m.Put(i, uint64(1)), "update")
				}
			})
			var value uint64
			t.must(m.Lookup(uint32(4095), &value), "lookup of the newest")
			t.fails("lookup of the oldest", m.Lookup(uint32(0), &value), unix.ENOENT)
		},
	},
	Rule{
		Name:      "nmi-without",
		Statement: "A perf_event program, which may run in an NMI, can use a hash with BPF_F_NO_PREALLOC.",
		Source:    verifier + "check_map_prog_compatibility (Linux 6.1, with bpf_mem_alloc)",
		check: func(t *T) {
			body := func(m *ebpf.Map) code {
				return program(
					asm.StoreImm(asm.R10, -4, 0, asm.Word),
					theMap(asm.R1, m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), asm.FnMapLookupElem.Call(), ret(0),
				)
			}
			t.load(ebpf.PerfEvent, body(t.create(hashSpec(4, 0))))
			spec := t.spec(ebpf.PerfEvent, body(t.create(hashSpec(4, unix.BPF_F_NO_PREALLOC))))
			p, err := t.k.load(spec)
			if err != nil && verifierMentions(err, "perf_event programs can only use preallocated hash map") {
				t.no("the verifier allows only preallocated hashes")
			}
			t.must(err, "load")
			p.Close()
		},
	},
	Rule{
		Name:      "element-reused",
		Statement: "A preallocated hash reuses the memory of a deleted element at once: a program that still holds a pointer to the deleted element sees the value of a new one.",
		Source:    hashSource + "pcpu_freelist_pop; Documentation/bpf/map_hash.rst",
		check: func(t *T) {
			m := t.create(hashSpec(1, 0))
			t.must(m.Put(uint32(1), uint64(100)), "update")
			// The program looks up key 1, deletes it and updates key 2.
			key := func(r asm.Register, slot int32) code { return code{mov(r, asm.R10), asm.Add.Imm(r, slot)} }
			p := t.load(rawTracepoint, program(
				asm.StoreImm(asm.R10, -4, 1, asm.Word), asm.StoreImm(asm.R10, -8, 2, asm.Word),
				asm.StoreImm(asm.R10, -16, 200, asm.Word), asm.StoreImm(asm.R10, -12, 0, asm.Word),
				theMap(asm.R1, m), key(asm.R2, -4), asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "none"), mov(asm.R7, asm.R0),
				theMap(asm.R1, m), key(asm.R2, -4), asm.FnMapDeleteElem.Call(),
				theMap(asm.R1, m), key(asm.R2, -8), key(asm.R3, -16), set(asm.R4, 0), asm.FnMapUpdateElem.Call(),
				asm.LoadMem(asm.R0, asm.R7, 0, asm.DWord), asm.Return(),
				at("none", set(asm.R0, -1)), asm.Return(),
			))
			got := t.call(p)
			var value uint64
			if err := m.Lookup(uint32(2), &value); errors.Is(err, ebpf.ErrKeyNotExist) {
				t.differs("key 2 is not there after its update")
			}
			equal(t, "value behind the pointer to the deleted element", got, 200)
		},
	},
)

func hashSpec(entries int, flags uint32) *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "hash", Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: uint32(entries), Flags: flags}
}

var _ = register(ZeroSize,
	Rule{
		Name:      "null-and-zero",
		Statement: "(NULL, 0) is accepted where the pointer may be NULL and the size zero (ARG_PTR_TO_MEM_OR_NULL, ARG_CONST_SIZE_OR_ZERO).",
		Source:    verifier + "check_helper_mem_access: zero_size_allowed",
		check: func(t *T) {
			p := t.load(ebpf.SchedCLS, nullToChecksum(0))
			ret, err := t.k.run(p, &ebpf.RunOptions{Data: make([]byte, 14)}) // an Ethernet header
			t.must(err, "run program")
			equal(t, "checksum of 0 bytes, which is the seed", ret, 5)
		},
	},
	Rule{
		Name:      "null-and-more",
		Statement: "(NULL, 8) is refused where the pointer may be NULL and the size zero.",
		Source:    verifier + "check_helper_mem_access",
		check: func(t *T) {
			t.refused(ebpf.SchedCLS, nullToChecksum(8), "R1 type=inv expected=fp", "R1 type=scalar expected=fp", "R1 invalid mem access",
				"accepted pointer or scalar types")
		},
	},
	Rule{
		Name:      "null-pointer-refused",
		Statement: "(NULL, 0) is refused where only the size may be zero, as in bpf_probe_read_kernel: the pointer must not be NULL.",
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
		Statement: "Where the size may not be zero, a size that is zero or can be zero is refused for any pointer.",
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
		Statement: "bpf_ringbuf_output of 0 bytes makes a record without payload.",
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
		Statement: "bpf_ringbuf_reserve of 0 bytes returns a record without payload.",
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

// nullToChecksum returns a program that passes NULL and size to bpf_csum_diff.
func nullToChecksum(size int32) code {
	return program(
		set(asm.R1, 0), set(asm.R2, size), set(asm.R3, 0), set(asm.R4, 0), set(asm.R5, 5),
		asm.FnCsumDiff.Call(), asm.Return(),
	)
}
