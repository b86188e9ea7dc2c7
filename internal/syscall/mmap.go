package syscall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mmap maps length bytes of fd from offset, shared, with prot (unix.PROT_*).
// The caller owns the mapping and ends it with Munmap.
//
// For what the kernel allows see ringbuf_map_mmap_kern and
// ringbuf_map_mmap_user (kernel/bpf/ringbuf.c), called by bpf_map_mmap
// (kernel/bpf/syscall.c).
func Mmap(fd int, offset int64, length uintptr, prot int) (unsafe.Pointer, error) {
	return unix.MmapPtr(fd, offset, nil, length, prot, unix.MAP_SHARED)
}

// Munmap ends a mapping made by Mmap.
func Munmap(addr unsafe.Pointer, length uintptr) error {
	return unix.MunmapPtr(addr, length)
}
