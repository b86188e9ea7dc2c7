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

// MmapAt is as Mmap from offset 0, at addr. Where anything is mapped there the
// error is EEXIST, and it stays (MAP_FIXED_NOREPLACE).
func MmapAt(fd int, addr, length uintptr, prot int) (unsafe.Pointer, error) {
	// SAFETY: addr is no Go memory, which the kernel would refuse to replace.
	at := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	return unix.MmapPtr(fd, 0, at, length, prot, unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE)
}
