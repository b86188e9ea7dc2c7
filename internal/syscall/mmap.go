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

// Replace puts zeroed memory of this process, readable and writable, in the
// place of a mapping made by Mmap. Nobody sees a moment without memory there:
// page faults wait until it is done (mmap(2), MAP_FIXED).
func Replace(addr unsafe.Pointer, length uintptr) error {
	_, err := unix.MmapPtr(-1, 0, addr, length, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	return err
}

// MmapAt is as Mmap from offset 0, at addr. Where anything is mapped there the
// error is EEXIST, and it stays (MAP_FIXED_NOREPLACE).
func MmapAt(fd int, addr, length uintptr, prot int) (unsafe.Pointer, error) {
	// SAFETY: addr is no Go memory, which the kernel would refuse to replace.
	at := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	return unix.MmapPtr(fd, 0, at, length, prot, unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE)
}
