package syscall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mmap makes a shared mapping of length bytes of fd at offset, with prot
// (unix.PROT_*). The caller owns the mapping and must unmap it with Munmap.
//
// ringbuf_map_mmap_kern and ringbuf_map_mmap_user (kernel/bpf/ringbuf.c), which
// bpf_map_mmap (kernel/bpf/syscall.c) calls, check which mappings of rings are
// allowed.
func Mmap(fd int, offset int64, length uintptr, prot int) (unsafe.Pointer, error) {
	return unix.MmapPtr(fd, offset, nil, length, prot, unix.MAP_SHARED)
}

// Munmap unmaps a mapping made by Mmap.
func Munmap(addr unsafe.Pointer, length uintptr) error {
	return unix.MunmapPtr(addr, length)
}

// Replace replaces a mapping made by Mmap with zeroed private memory, readable and
// writable. Other threads can access the addresses meanwhile: page faults wait
// until the replacement is done (mmap(2), MAP_FIXED).
func Replace(addr unsafe.Pointer, length uintptr) error {
	_, err := unix.MmapPtr(-1, 0, addr, length, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	return err
}

// MmapAt is like Mmap with offset 0, but maps at the address addr. If something is
// mapped there already, it stays and the error is EEXIST (MAP_FIXED_NOREPLACE).
func MmapAt(fd int, addr, length uintptr, prot int) (unsafe.Pointer, error) {
	// SAFETY: addr is not the address of Go memory: the kernel would refuse to map there.
	at := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	return unix.MmapPtr(fd, 0, at, length, prot, unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE)
}
