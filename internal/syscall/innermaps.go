package syscall

import (
	"errors"
	"io/fs"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// lookupBatch is the member batch of union bpf_attr (include/uapi/linux/bpf.h).
type lookupBatch struct {
	in, out, keys, values unsafe.Pointer
	count, mapFD          uint32
	elemFlags, flags      uint64
}

// innerBatch is how many entries of a map of maps one system call reads.
var innerBatch = 512 // tests have smaller maps: an entry of an array costs a grace period of RCU before Linux 6.8

// InnerMaps returns the ids of the maps in outer, a map of maps, at most limit of them. It reads
// many entries in one system call if the kernel can, otherwise one by one. While outer changes, entries can
// be missing.
func InnerMaps(outer *ebpf.Map, limit int) []ebpf.MapID {
	found, err := innerByBatch(outer, limit)
	if err != nil {
		return innerByKey(outer, limit)
	}
	return found
}

// innerByBatch reads with BPF_MAP_LOOKUP_BATCH (kernel/bpf/syscall.c, generic_map_lookup_batch, and
// kernel/bpf/hashtab.c, __htab_map_lookup_and_delete_batch).
func innerByBatch(outer *ebpf.Map, limit int) (found []ebpf.MapID, err error) {
	var (
		keys   = make([]byte, innerBatch*int(outer.KeySize()))
		values = make([]ebpf.MapID, innerBatch)
		// A position in outer is a key or the number of a bucket.
		position = make([]byte, max(outer.KeySize(), 8))
		attr     = lookupBatch{
			out: unsafe.Pointer(unsafe.SliceData(position)), keys: unsafe.Pointer(unsafe.SliceData(keys)),
			values: unsafe.Pointer(unsafe.SliceData(values)), mapFD: uint32(outer.FD()),
		}
	)
	for len(found) < limit {
		attr.count = uint32(innerBatch)
		// SAFETY: the kernel writes at most count keys and values, and one position. The pointers in attr
		// keep this memory alive, and attr is alive until the call returns.
		_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_LOOKUP_BATCH, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		runtime.KeepAlive(&attr)
		if errno != 0 && !errors.Is(errno, fs.ErrNotExist) {
			return nil, errno
		}
		found = append(found, values[:min(int(attr.count), innerBatch)]...)
		if errno != 0 || attr.count == 0 { // that was the last entry
			break
		}
		attr.in = attr.out
	}
	runtime.KeepAlive(outer)
	return found[:min(len(found), limit)], nil
}

// innerByKey reads one entry in each system call. An iteration that fails because outer changes ends.
func innerByKey(outer *ebpf.Map, limit int) (found []ebpf.MapID) {
	var key []byte
	var id uint32 // user space reads the id (kernel/bpf/map_in_map.c, bpf_map_fd_sys_lookup_elem)
	for it := outer.Iterate(); len(found) < limit && it.Next(&key, &id); {
		found = append(found, ebpf.MapID(id))
	}
	return found
}
