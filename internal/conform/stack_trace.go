package conform

import (
	"encoding/binary"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Flags of bpf_get_stackid, include/uapi/linux/bpf.h.
const (
	userStack    = 1 << 8 // BPF_F_USER_STACK
	fastCompare  = 1 << 9 // BPF_F_FAST_STACK_CMP
	reuseStackID = unix.BPF_F_REUSE_STACKID
)

const stackSource = "kernel/bpf/stackmap.c, "

var _ = register(StackTrace,
	Rule{
		Name:      "value-size",
		Statement: "The value of a stack trace map is an array of addresses: a value size that is not a multiple of 8, or holds more than perf_event_max_stack addresses, is refused with EINVAL.",
		Source:    stackSource + "stack_map_alloc",
		check: func(t *T) {
			spec := func(size uint32) *ebpf.MapSpec {
				return &ebpf.MapSpec{Type: ebpf.StackTrace, KeySize: 4, ValueSize: size, MaxEntries: 16}
			}
			t.createFails("a value of 12 bytes", spec(12), unix.EINVAL)
			t.createFails("a value of 1 MiB", spec(1<<20), unix.EINVAL)
			t.create(spec(8))
		},
	},
	Rule{
		Name:      "kernel-stack",
		Statement: "bpf_get_stackid returns the id of the kernel's stack, whose addresses user space looks up.",
		Source:    stackSource + "bpf_get_stackid",
		check: func(t *T) {
			s := t.stacks(manyBuckets)
			for _, ip := range s.addresses(s.id(0)) {
				if ip>>63 == 0 {
					t.differs("an address of %#x, which is not the kernel's", ip)
				}
			}
		},
	},
	Rule{
		Name:      "user-stack",
		Statement: "With BPF_F_USER_STACK bpf_get_stackid returns the id of the stack that the process had when it entered the kernel.",
		Source:    stackSource + "bpf_get_stackid",
		check: func(t *T) {
			s := t.stacks(manyBuckets)
			for _, ip := range s.addresses(s.id(userStack)) {
				if ip>>56 != 0 {
					t.differs("an address of %#x, which is not the process's", ip)
				}
			}
		},
	},
	Rule{
		Name:      "same-stack-same-id",
		Statement: "The same stack has the same id again, with BPF_F_FAST_STACK_CMP too.",
		Source:    stackSource + "__bpf_get_stackid",
		check: func(t *T) {
			s := t.stacks(manyBuckets)
			ids := []int32{s.id(0), s.id(0), s.id(fastCompare), s.id(fastCompare)}
			equal(t, "ids", slices.Max(ids), slices.Min(ids))
			if other := s.id(userStack); other == ids[0] {
				t.differs("the user stack has the id of the kernel's: %d", other)
			}
		},
	},
	Rule{
		Name:      "collision",
		Statement: "A stack whose bucket holds another stack is refused with -EEXIST; with BPF_F_REUSE_STACKID it replaces the other stack.",
		Source:    stackSource + "__bpf_get_stackid",
		check: func(t *T) {
			// The test makes different stacks by skipping innermost frames. Of enough stacks, two share a
			// bucket.
			s := t.stacks(16)
			for _, which := range []uint64{0, userStack} {
				for skip := range uint64(16) {
					// Call id from one place, because the return address is part of the stack.
					var ids [3]int32
					for i, how := range []uint64{0, reuseStackID, 0} {
						ids[i] = s.id(which | skip | how)
					}
					if ids[0] != -int32(unix.EEXIST) {
						continue
					}
					s.addresses(ids[1])
					equal(t, "id after it has replaced the other stack", ids[2], ids[1])
					return
				}
			}
			t.differs("no two stacks share one of 16 buckets")
		},
	},
	Rule{
		Name:      "skip",
		Statement: "The lowest 8 bits of the flags are the number of frames to skip.",
		Source:    stackSource + "BPF_F_SKIP_FIELD_MASK",
		check: func(t *T) {
			s := t.stacks(manyBuckets)
			// Look up the first stack before the second is stored: both can share a bucket.
			all, fewer := s.addresses(s.id(0)), s.addresses(s.id(2|reuseStackID))
			if len(all) < 3 || len(fewer) == 0 {
				t.differs("%d addresses, %d without two", len(all), len(fewer))
			}
			equal(t, "first address without two", fewer[0], all[2])
		},
	},
	Rule{
		Name:      "unknown-flags",
		Statement: "bpf_get_stackid with an unknown flag returns -EINVAL.",
		Source:    stackSource + "bpf_get_stackid",
		check: func(t *T) {
			equal(t, "result", t.stacks(manyBuckets).id(1<<20), -int32(unix.EINVAL))
		},
	},
	Rule{
		Name:      "delete",
		Statement: "User space can delete a stack: a lookup of its id then fails with ENOENT.",
		Source:    stackSource + "stack_map_delete_elem",
		check: func(t *T) {
			s := t.stacks(manyBuckets)
			id := s.id(0)
			s.addresses(id)
			t.must(s.m.Delete(uint32(id)), "delete")
			var b []byte
			t.fails("lookup", s.m.Lookup(uint32(id), &b), unix.ENOENT)
		},
	},
	Rule{
		Name:      "no-update",
		Statement: "User space cannot put a stack into the map: EINVAL.",
		Source:    stackSource + "stack_map_update_elem",
		check: func(t *T) {
			s := t.stacks(manyBuckets)
			t.fails("update", s.m.Put(uint32(1), make([]byte, s.m.ValueSize())), unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-lookup-in-programs",
		Statement: "The verifier refuses bpf_map_lookup_elem of a stack trace map.",
		Source:    verifier + "check_map_func_compatibility",
		check: func(t *T) {
			t.refused(rawTracepoint, program(
				asm.StoreImm(asm.R10, -4, 0, asm.Word),
				theMap(asm.R1, t.stacks(manyBuckets).m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), asm.FnMapLookupElem.Call(), ret(0),
			), "cannot pass map_type 7 into func")
		},
	},
)

// manyBuckets is a number of buckets with which two stacks are unlikely to share a bucket.
const manyBuckets = 16 << 10

type stacks struct {
	t *T
	m *ebpf.Map
	p *ebpf.Program
}

func (t *T) stacks(buckets uint32) stacks {
	m := t.create(&ebpf.MapSpec{Name: "stacks", Type: ebpf.StackTrace, KeySize: 4, ValueSize: 8 * 64, MaxEntries: buckets})
	return stacks{t, m, t.load(rawTracepoint, program(
		mov(asm.R1, asm.R6), theMap(asm.R2, m), arg(asm.R3, 0), asm.FnGetStackid.Call(), asm.Return(),
	))}
}

// id runs the program, and returns the id of the stack that it stores. It is not inlined, so that the user
// stack is the same in all calls from one place.
//
//go:noinline
func (s stacks) id(flags uint64) int32 { return s.t.call(s.p, flags) }

// addresses looks up a stack in the map and returns its addresses.
func (s stacks) addresses(id int32) []uint64 {
	if id < 0 {
		s.t.differs("bpf_get_stackid gave %v", unix.Errno(-id))
	}
	var b []byte
	s.t.must(s.m.Lookup(uint32(id), &b), "lookup of stack %d", id)
	var ips []uint64
	for ; len(b) >= 8; b = b[8:] {
		if ip := binary.NativeEndian.Uint64(b); ip != 0 {
			ips = append(ips, ip)
		}
	}
	if len(ips) == 0 {
		s.t.differs("no addresses in stack %d", id)
	}
	return ips
}
