package conform

import (
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	protRead      = unix.PROT_READ
	protReadWrite = unix.PROT_READ | unix.PROT_WRITE
)

var _ = register(RingBuf,
	Rule{
		Name:      "map-consumer-page",
		Statement: "The consumer page of a ring can be mapped writable, and what is written there is consumer_pos.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_mmap_kern",
		check: func(t *T) {
			r := t.ring()
			output := t.outputter(r.m)
			// Half the ring, twice: only with the first given back is there room.
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

// mmap maps a map for the test, and unmaps it in the end.
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
