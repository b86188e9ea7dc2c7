package conform

import (
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// From include/uapi/linux/bpf.h.
const (
	flagRead = 1 << 3 // BPF_F_RDONLY
)

var _ = register(RingBuf,
	Rule{
		Name:      "size-power-of-two",
		Statement: "A ring whose size is not a power of two is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc",
		check:     func(t *T) { t.createFails("3 pages", ringSpec(3*page), unix.EINVAL) },
	},
	Rule{
		Name:      "size-whole-pages",
		Statement: "A ring smaller than a page is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc",
		check:     func(t *T) { t.createFails("half a page", ringSpec(page/2), unix.EINVAL) },
	},
	Rule{
		Name:      "size-not-zero",
		Statement: "A ring of size 0 is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc",
		check:     func(t *T) { t.createFails("no size", ringSpec(0), unix.EINVAL) },
	},
	Rule{
		Name:      "no-key-no-value",
		Statement: "A ring with a key size or a value size is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc",
		check: func(t *T) {
			withKey, withValue := ringSpec(page), ringSpec(page)
			withKey.KeySize, withValue.ValueSize = 4, 4
			t.createFails("a key size", withKey, unix.EINVAL)
			t.createFails("a value size", withValue, unix.EINVAL)
		},
	},
	Rule{
		Name:      "flags",
		Statement: "A ring accepts BPF_F_NUMA_NODE, and is refused with EINVAL for a flag of another map type.",
		Source:    "kernel/bpf/ringbuf.c, RINGBUF_CREATE_FLAG_MASK",
		check: func(t *T) {
			node := ringSpec(page)
			node.Flags = unix.BPF_F_NUMA_NODE
			t.create(node)
			mmapable := ringSpec(page)
			mmapable.Flags = unix.BPF_F_MMAPABLE
			t.createFails("BPF_F_MMAPABLE", mmapable, unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-elements",
		Statement: "Lookup, update, delete and get-next-key of a ring from user space fail with ENOTSUPP.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_ops",
		check: func(t *T) {
			m := t.create(ringSpec(page))
			var value uint64
			for _, op := range []struct {
				name string
				cmd  int
			}{
				{"lookup", unix.BPF_MAP_LOOKUP_ELEM}, {"update", unix.BPF_MAP_UPDATE_ELEM},
				{"delete", unix.BPF_MAP_DELETE_ELEM}, {"get next key", unix.BPF_MAP_GET_NEXT_KEY},
			} {
				// The key must be NULL for a map without keys, and the value NULL for a delete.
				at := unsafe.Pointer(&value)
				if op.cmd == unix.BPF_MAP_DELETE_ELEM {
					at = nil
				}
				_, err := t.element(op.cmd, m, nil, at, 0)
				t.fails(op.name, err, enotsupp)
			}
		},
	},
	Rule{
		Name:      "no-elements-in-programs",
		Statement: "The verifier refuses bpf_map_lookup_elem, bpf_map_update_elem and bpf_map_delete_elem of a ring.",
		Source:    "kernel/bpf/verifier.c, check_map_func_compatibility",
		check: func(t *T) {
			m := t.create(ringSpec(page))
			for _, fn := range []asm.BuiltinFunc{asm.FnMapLookupElem, asm.FnMapUpdateElem, asm.FnMapDeleteElem} {
				t.refused(ebpf.RawTracepoint, program(
					asm.StoreImm(asm.R10, -8, 0, asm.Word), asm.StoreImm(asm.R10, -4, 0, asm.Word),
					theMap(asm.R1, m), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -8), mov(asm.R3, asm.R2), set(asm.R4, 0),
					fn.Call(), ret(0),
				), "cannot pass map_type 27 into func", "invalid zero-sized read")
			}
		},
	},
	Rule{
		Name:      "map-in-map",
		Statement: "A program can take a ring from an array of maps and write into it.",
		Source:    "kernel/bpf/map_in_map.c, bpf_map_meta_alloc",
		check: func(t *T) {
			inner := t.ring()
			outer := t.arrayOfRings(inner.m)
			t.must(outer.Put(uint32(0), inner.m), "put ring into array")
			equal(t, "result of bpf_ringbuf_output", t.call(t.load(ebpf.RawTracepoint, outputsToInner(t, outer))), 0)
			inner.record(0, 8)
		},
	},
	Rule{
		Name:      "map-in-map-other-size",
		Statement: "An array of rings accepts a ring of another size than the ring that it was created with.",
		Source:    "kernel/bpf/map_in_map.c, bpf_map_meta_equal",
		check: func(t *T) {
			outer := t.arrayOfRings(t.create(ringSpec(page)))
			large := t.create(ringSpec(4 * page))
			t.must(outer.Put(uint32(0), large), "put ring of 4 pages into array")
		},
	},
)

// element calls bpf(2) for an element of a map. key is nil if the map has no keys.
func (t *T) element(cmd int, m *ebpf.Map, key, value unsafe.Pointer, flags uint64) (int, error) {
	// attr is the member of union bpf_attr for BPF_MAP_*_ELEM.
	attr := struct {
		fd         uint32
		_          uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(m.FD()), key: key, value: value, flags: flags}
	return t.k.call(cmd, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

func (t *T) arrayOfRings(inner *ebpf.Map) *ebpf.Map {
	return t.create(&ebpf.MapSpec{
		Name: "outer", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		InnerMap: ringSpec(int(inner.MaxEntries())),
	})
}

// outputsToInner returns a program that writes 8 bytes into the ring that is element 0 of outer.
func outputsToInner(t *T, outer *ebpf.Map) code {
	memory := t.memory(8)
	return program(
		asm.StoreImm(asm.R10, -4, 0, asm.Word),
		theMap(asm.R1, outer), mov(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4), asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "none"),
		mov(asm.R1, asm.R0), asm.LoadMapValue(asm.R2, memory.FD(), 0), set(asm.R3, 8), set(asm.R4, 0),
		asm.FnRingbufOutput.Call(), asm.Return(),
		at("none", set(asm.R0, -1000)), asm.Return(),
	)
}

const (
	protRead      = unix.PROT_READ
	protReadWrite = unix.PROT_READ | unix.PROT_WRITE
)

var _ = register(RingBuf,
	Rule{
		Name:      "map-consumer-page",
		Statement: "The consumer page of a ring can be mapped writable, and a value written there is consumer_pos.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_mmap_kern",
		check: func(t *T) {
			r := t.ring()
			output := t.outputter(r.m)
			// Each record takes half the ring. The second fits only after the first is consumed.
			equal(t, "first record", output(page/2-8, 0), 0)
			equal(t, "second record before the first is consumed", output(page/2-8, 0), -int32(unix.EAGAIN))
			r.empty()
			equal(t, "second record after the first is consumed", output(page/2-8, 0), 0)
		},
	},
	Rule{
		Name:      "map-no-more-writable",
		Statement: "A writable mapping of anything but the consumer page alone is refused with EPERM.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_mmap_kern",
		check: func(t *T) {
			m := t.create(ringSpec(page))
			t.mmapFails("two pages writable", m, 0, 2*page, protReadWrite, unix.MAP_SHARED, unix.EPERM)
			t.mmapFails("producer page writable", m, page, page, protReadWrite, unix.MAP_SHARED, unix.EPERM)
			t.mmapFails("data writable", m, 2*page, page, protReadWrite, unix.MAP_SHARED, unix.EPERM)
		},
	},
	Rule{
		Name:      "map-all-read-only",
		Statement: "One read-only mapping can cover both position pages and the data twice, and not a page more.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_area_alloc; mm/vmalloc.c, remap_vmalloc_range",
		check: func(t *T) {
			m := t.create(ringSpec(page))
			t.mmap(m, 0, 4*page, protRead)
			t.mmapFails("a page more", m, 0, 5*page, protRead, unix.MAP_SHARED, unix.EINVAL)
		},
	},
	Rule{
		Name:      "map-stays-read-only",
		Statement: "mprotect(2) does not make a read-only mapping writable: EACCES.",
		Source:    "kernel/bpf/syscall.c, bpf_map_mmap",
		check: func(t *T) {
			mem := t.mmap(t.create(ringSpec(page)), page, page, protRead)
			t.fails("mprotect", unix.Mprotect(mem, protReadWrite), unix.EACCES)
		},
	},
	Rule{
		Name:      "map-shared-only",
		Statement: "A private mapping is refused with EINVAL.",
		Source:    "kernel/bpf/syscall.c, bpf_map_mmap",
		check: func(t *T) {
			t.mmapFails("private", t.create(ringSpec(page)), 0, page, protRead, unix.MAP_PRIVATE, unix.EINVAL)
		},
	},
	Rule{
		Name:      "map-by-read-only-descriptor",
		Statement: "A descriptor that was opened with BPF_F_RDONLY cannot be mapped, not even for reading: EINVAL.",
		Source:    "kernel/bpf/syscall.c, bpf_map_mmap; mm/mmap.c, do_mmap",
		check: func(t *T) {
			m := t.create(ringSpec(page))
			info, err := m.Info()
			t.must(err, "ask for the map's id")
			id, _ := info.ID()
			attr := struct{ id, next, flags uint32 }{uint32(id), 0, flagRead}
			fd, err := t.k.call(unix.BPF_MAP_GET_FD_BY_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
			t.must(err, "open with BPF_F_RDONLY")
			t.cleanup(func() { unix.Close(fd) })
			mem, err := t.k.mmap(fd, 0, page, protRead, unix.MAP_SHARED)
			if err == nil {
				unix.Munmap(mem)
			}
			t.fails("map", err, unix.EINVAL)
		},
	},
	Rule{
		Name:      "map-data-twice",
		Statement: "The data pages are mapped twice in a row, and both views show the same bytes.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_area_alloc",
		check: func(t *T) {
			r := t.ring()
			equal(t, "result of bpf_ringbuf_output", t.outputter(r.m)(1000, 0), 0)
			mem := t.mmap(r.m, 0, 4*page, protRead)
			first, second := string(mem[2*page:3*page]), string(mem[3*page:4*page])
			equal(t, "second view is the first", second == first, true)
			equal(t, "byte 999 of the record", mem[3*page+8+999], pattern(999))
		},
	},
)

// mmap maps a map, and unmaps it at the end of the test.
func (t *T) mmap(m *ebpf.Map, offset, length, prot int) []byte {
	mem, err := t.k.mmap(m.FD(), int64(offset), length, prot, unix.MAP_SHARED)
	t.must(err, "map %d bytes from %d", length, offset)
	t.cleanup(func() { unix.Munmap(mem) })
	return mem
}

func (t *T) mmapFails(how string, m *ebpf.Map, offset, length, prot, flags int, want unix.Errno) {
	mem, err := t.k.mmap(m.FD(), int64(offset), length, prot, flags)
	if err == nil {
		t.cleanup(func() { unix.Munmap(mem) })
	}
	t.fails("map "+how, err, want)
}
