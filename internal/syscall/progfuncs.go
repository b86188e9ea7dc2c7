package syscall

import (
	"errors"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ErrAddressesHidden reports that the kernel does not show where a program's machine code is.
var ErrAddressesHidden = errors.New("the kernel hides the addresses of programs (kernel.kptr_restrict, CAP_SYSLOG)")

// ProgramFunction is the machine code of a program's function.
type ProgramFunction struct {
	Address, Size uint64
	Type          btf.TypeID // in the program's BTF; 0 if unknown
}

// ReadProgramFunctions returns the functions of a program, the main one first, in the order of their instructions. There are
// none if the kernel interprets the program. It needs CAP_SYS_ADMIN. If there is no such program, the error matches
// [fs.ErrNotExist], and if the addresses are not shown, [ErrAddressesHidden].
func ReadProgramFunctions(id ebpf.ProgramID) ([]ProgramFunction, error) {
	fd, err := objectByID(unix.BPF_PROG_GET_FD_BY_ID, uint32(id))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var known progInfo
	if err := progInfoOf(fd, &known); err != nil {
		return nil, err
	}
	// Both numbers are those of the functions (kernel/bpf/syscall.c, bpf_prog_get_info_by_fd).
	n := min(known.nrKsyms, known.nrFuncLens)
	if known.jitedLen == 0 || n == 0 {
		return nil, nil
	}
	addresses, sizes := make([]uint64, n), make([]uint32, n)
	var types []uint32
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(unsafe.SliceData(addresses))
	pinned.Pin(unsafe.SliceData(sizes))
	// SAFETY: see progInfoOf; the slices stay pinned until the function returns.
	info := progInfo{
		nrKsyms: n, jitedKsyms: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(addresses)))),
		nrFuncLens: n, funcLens: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(sizes)))),
	}
	if known.funcSize == funcInfoSize && known.nrFuncs > 0 {
		types = make([]uint32, known.nrFuncs*funcInfoSize/4)
		pinned.Pin(unsafe.SliceData(types))
		info.nrFuncs, info.funcSize = known.nrFuncs, funcInfoSize
		info.funcs = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(types))))
	}
	if err := progInfoOf(fd, &info); err != nil {
		return nil, err
	}
	if info.jitedKsyms == 0 || addresses[0] == 0 {
		return nil, ErrAddressesHidden
	}
	funcs := make([]ProgramFunction, n)
	for i := range funcs {
		funcs[i] = ProgramFunction{Address: addresses[i], Size: uint64(sizes[i])}
		if 2*i+1 < len(types) {
			funcs[i].Type = btf.TypeID(types[2*i+1]) // struct bpf_func_info: insn_off, type_id
		}
	}
	return funcs, nil
}
