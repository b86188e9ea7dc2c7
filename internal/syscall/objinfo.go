package syscall

import (
	"runtime"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// maxUsedMaps is MAX_USED_MAPS (include/linux/bpf_verifier.h).
const maxUsedMaps = 64

// progInfo is struct bpf_prog_info (include/uapi/linux/bpf.h) up to the field line_info_rec_size.
type progInfo struct {
	typ, id              uint32
	tag                  [8]byte
	jitedLen, xlatedLen  uint32
	jited, xlated        uint64
	loadTime             uint64
	uid, nrMapIDs        uint32
	mapIDs               uint64
	name                 [unix.BPF_OBJ_NAME_LEN]byte
	ifindex, gpl         uint32
	netnsDev, netnsIno   uint64
	nrKsyms, nrFuncLens  uint32
	jitedKsyms, funcLens uint64
	btfID                uint32
	funcSize             uint32
	funcs                uint64
	nrFuncs, nrLines     uint32
	lines, jitedLines    uint64
	nrJitedLines         uint32
	lineSize             uint32
}

// mapInfo is struct bpf_map_info (include/uapi/linux/bpf.h) up to the field btf_vmlinux_id.
type mapInfo struct {
	typ, id, keySize, valueSize, maxEntries, flags uint32
	name                                           [unix.BPF_OBJ_NAME_LEN]byte
	ifindex, vmlinuxValueType                      uint32
	netnsDev, netnsIno                             uint64
	btfID, btfKeyType, btfValueType, btfVmlinuxID  uint32
}

// ProgramInfo describes a loaded program, without its instructions.
type ProgramInfo struct {
	ID       ebpf.ProgramID
	Type     ebpf.ProgramType
	Name     string // at most 15 bytes
	Tag      [8]byte
	LoadTime time.Duration // since boot
	UID      uint32        // user who loaded it
	BTF      btf.ID        // 0 if it has none
	Maps     []ebpf.MapID  // maps that it uses
}

// MapInfo describes a map, with the types of its keys and values.
type MapInfo struct {
	ID                             ebpf.MapID
	Type                           ebpf.MapType
	Name                           string // at most 15 bytes
	KeySize, ValueSize, MaxEntries uint32
	BTF                            btf.ID     // 0 if it has none
	KeyType, ValueType             btf.TypeID // in that BTF; 0 if unknown
}

// ReadProgramInfo returns what the kernel tells of a program. It makes three system calls and copies neither
// instructions nor machine code, which [ebpf.Program.Info] does. It needs CAP_SYS_ADMIN. If there is
// no such program, the error matches [fs.ErrNotExist].
func ReadProgramInfo(id ebpf.ProgramID) (*ProgramInfo, error) {
	fd, err := objectByID(unix.BPF_PROG_GET_FD_BY_ID, uint32(id))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	used := make([]ebpf.MapID, maxUsedMaps)
	var pinned runtime.Pinner
	pinned.Pin(unsafe.SliceData(used))
	defer pinned.Unpin()
	raw := progInfo{nrMapIDs: maxUsedMaps, mapIDs: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(used))))}
	// SAFETY: the kernel writes at most Sizeof(raw) bytes to raw, and at most maxUsedMaps ids to used, which
	// stays pinned until the call returns.
	if err := objInfo(fd, unsafe.Pointer(&raw), unsafe.Sizeof(raw)); err != nil {
		return nil, err
	}
	return &ProgramInfo{
		ID: ebpf.ProgramID(raw.id), Type: ebpf.ProgramType(raw.typ), Name: unix.ByteSliceToString(raw.name[:]),
		Tag: raw.tag, LoadTime: time.Duration(raw.loadTime), UID: raw.uid, BTF: btf.ID(raw.btfID),
		Maps: used[:min(raw.nrMapIDs, maxUsedMaps)],
	}, nil
}

// ReadMapInfo returns what the kernel tells of a map. It needs CAP_SYS_ADMIN. If there is no such map,
// the error matches [fs.ErrNotExist].
func ReadMapInfo(id ebpf.MapID) (*MapInfo, error) {
	fd, err := objectByID(unix.BPF_MAP_GET_FD_BY_ID, uint32(id))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return mapInfoOf(fd)
}

// MapInfoOf is like [ReadMapInfo] for a map that is open, and needs no capability.
func MapInfoOf(m *ebpf.Map) (*MapInfo, error) {
	defer runtime.KeepAlive(m)
	return mapInfoOf(m.FD())
}

func mapInfoOf(fd int) (*MapInfo, error) {
	var raw mapInfo
	// SAFETY: the kernel writes at most Sizeof(raw) bytes to raw, which contains no pointers.
	if err := objInfo(fd, unsafe.Pointer(&raw), unsafe.Sizeof(raw)); err != nil {
		return nil, err
	}
	return &MapInfo{
		ID: ebpf.MapID(raw.id), Type: ebpf.MapType(raw.typ), Name: unix.ByteSliceToString(raw.name[:]),
		KeySize: raw.keySize, ValueSize: raw.valueSize, MaxEntries: raw.maxEntries,
		BTF: btf.ID(raw.btfID), KeyType: btf.TypeID(raw.btfKeyType), ValueType: btf.TypeID(raw.btfValueType),
	}, nil
}

// objectByID calls cmd, BPF_PROG_GET_FD_BY_ID or BPF_MAP_GET_FD_BY_ID.
//
// SAFETY: the kernel accesses at most Sizeof(attr) bytes of attr, which contains no pointers.
func objectByID(cmd uintptr, id uint32) (int, error) {
	attr := struct{ id, next, openFlags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// objInfo calls BPF_OBJ_GET_INFO_BY_FD with the struct of size bytes at info. Older kernels fill less of it.
func objInfo(fd int, info unsafe.Pointer, size uintptr) error {
	attr := struct {
		fd, len uint32
		info    unsafe.Pointer
	}{uint32(fd), uint32(size), info}
	// SAFETY: the kernel accesses at most Sizeof(attr) bytes of attr, and at most attr.len bytes at attr.info.
	// attr keeps info alive until the call returns.
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(info)
	if errno != 0 {
		return errno
	}
	return nil
}
