package conform

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/mapflag"
)

var _ = register(UserRingBuf,
	Rule{
		Name:      "size",
		Statement: "A user ring whose size is not a power of two, or less than a page, is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc (Linux 6.1)",
		check: func(t *T) {
			t.createFails("3 pages", userSpec(3*page), unix.EINVAL)
			t.createFails("half a page", userSpec(page/2), unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-key-no-value",
		Statement: "A user ring with a key size or a value size is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc (Linux 6.1)",
		check: func(t *T) {
			withKey, withValue := userSpec(page), userSpec(page)
			withKey.KeySize, withValue.ValueSize = 4, 4
			t.createFails("a key size", withKey, unix.EINVAL)
			t.createFails("a value size", withValue, unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-overwrite",
		Statement: "A user ring has no overwrite mode: BPF_F_RB_OVERWRITE is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc",
		check: func(t *T) {
			spec := userSpec(page)
			spec.Flags = mapflag.RBOverwrite
			t.createFails("BPF_F_RB_OVERWRITE", spec, unix.EINVAL)
		},
	},
	Rule{
		Name:      "map-consumer-read-only",
		Statement: "The consumer page of a user ring can be mapped for reading, and is refused with EPERM for writing.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_mmap_user (Linux 6.1)",
		check: func(t *T) {
			m := t.create(userSpec(page))
			t.mmap(m, 0, page, protRead)
			t.mmapFails("consumer page writable", m, 0, page, protReadWrite, unix.MAP_SHARED, unix.EPERM)
			t.mmapFails("everything writable", m, 0, 4*page, protReadWrite, unix.MAP_SHARED, unix.EPERM)
		},
	},
	Rule{
		Name:      "map-rest-writable",
		Statement: "The producer page and the data, twice, can be mapped writable, and not a page more.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_mmap_user (Linux 6.1)",
		check: func(t *T) {
			m := t.create(userSpec(page))
			mem := t.mmap(m, page, 3*page, protReadWrite)
			mem[page+7] = 77
			equal(t, "byte in the second view of the data", mem[2*page+7], 77)
			t.mmapFails("a page more", m, page, 4*page, protReadWrite, unix.MAP_SHARED, unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-elements",
		Statement: "Lookup of a user ring from user space fails with ENOTSUPP.",
		Source:    "kernel/bpf/ringbuf.c, user_ringbuf_map_ops (Linux 6.1)",
		check: func(t *T) {
			var value uint64
			_, err := t.element(unix.BPF_MAP_LOOKUP_ELEM, t.create(userSpec(page)), nil, unsafe.Pointer(&value), 0)
			t.fails("lookup", err, enotsupp)
		},
	},
	Rule{
		Name:      "each-to-its-own",
		Statement: "The verifier refuses a drain of a kernel ring, and a reservation in a user ring.",
		Source:    verifier + "check_map_func_compatibility (Linux 6.1)",
		check: func(t *T) {
			user, out := t.create(userSpec(page)), t.output()
			t.refused(rawTracepoint, drains(t.create(ringSpec(page)), out, ret(0)), "cannot pass map_type 27 into func bpf_user_ringbuf_drain")
			t.refused(rawTracepoint, program(
				reserve(user, 16, "full"), submit(asm.R0, 0), ret(0), at("full", set(asm.R0, 1)), asm.Return(),
			), "cannot pass map_type 31 into func bpf_ringbuf_reserve")
		},
	},
)
