package syscall

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ErrTooLarge reports that the kernel has more bytes of something than the caller wants.
var ErrTooLarge = errors.New("too large")

// ErrHidden reports that the kernel shows a program's instructions only to those who may see its addresses.
var ErrHidden = errors.New("the kernel hides the program's instructions (kernel.kptr_restrict, net.core.bpf_jit_harden, CAP_SYSLOG)")

// ProgramCode is what the kernel keeps of a program's instructions.
type ProgramCode struct {
	Insns []byte // struct bpf_insn
	Lines []byte // struct bpf_line_info; empty if the program has no source lines
	Funcs []byte // struct bpf_func_info; empty if the program has no functions in BTF
}

// Sizes of the records, in bytes.
const (
	lineInfoSize = 16
	funcInfoSize = 8
)

// ReadProgramCode returns the instructions of a program as the kernel dumps them (kernel/bpf/syscall.c,
// bpf_prog_get_info_by_fd), with its source lines and functions. It needs CAP_SYS_ADMIN. If there is no such program, the
// error matches [fs.ErrNotExist], and if the instructions are not shown, [ErrHidden].
func ReadProgramCode(id ebpf.ProgramID) (*ProgramCode, error) {
	fd, err := objectByID(unix.BPF_PROG_GET_FD_BY_ID, uint32(id))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var known progInfo
	if err := progInfoOf(fd, &known); err != nil {
		return nil, err
	}
	c := &ProgramCode{Insns: make([]byte, known.xlatedLen)}
	var pinned runtime.Pinner
	defer pinned.Unpin()
	address := func(b []byte) uint64 {
		if len(b) == 0 {
			return 0
		}
		p := unsafe.SliceData(b)
		pinned.Pin(p)
		return uint64(uintptr(unsafe.Pointer(p)))
	}
	// Where the instructions are hidden the kernel stops before it writes the rest: they are asked for alone.
	code := progInfo{xlatedLen: known.xlatedLen, xlated: address(c.Insns)}
	if err := progInfoOf(fd, &code); err != nil {
		return nil, err
	}
	if code.xlated == 0 || code.xlatedLen == 0 {
		return nil, ErrHidden
	}
	var rest progInfo
	if known.lineSize == lineInfoSize {
		c.Lines = make([]byte, lineInfoSize*known.nrLines)
		rest.nrLines, rest.lineSize, rest.lines = known.nrLines, lineInfoSize, address(c.Lines)
	}
	if known.funcSize == funcInfoSize {
		c.Funcs = make([]byte, funcInfoSize*known.nrFuncs)
		rest.nrFuncs, rest.funcSize, rest.funcs = known.nrFuncs, funcInfoSize, address(c.Funcs)
	}
	return c, progInfoOf(fd, &rest)
}

// progInfoOf asks for what info has room for.
//
// SAFETY: the kernel writes at most Sizeof(*info) bytes to info, and to the memory at the addresses in it as many records as
// the numbers beside them say. The caller keeps that memory pinned.
func progInfoOf(fd int, info *progInfo) error {
	return objInfo(fd, unsafe.Pointer(info), unsafe.Sizeof(*info))
}

// btfInfo is struct bpf_btf_info (include/uapi/linux/bpf.h) up to the field id.
type btfInfo struct {
	btf      uint64
	size, id uint32
}

// ReadBTF returns the bytes of a BTF in the kernel. It needs CAP_SYS_ADMIN. If there is no such BTF, the error matches
// [fs.ErrNotExist], and if it has more than limit bytes, [ErrTooLarge].
func ReadBTF(id btf.ID, limit uint32) ([]byte, error) {
	fd, err := objectByID(unix.BPF_BTF_GET_FD_BY_ID, uint32(id))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var info btfInfo
	if err := objInfo(fd, unsafe.Pointer(&info), unsafe.Sizeof(info)); err != nil {
		return nil, err
	}
	switch {
	case info.size == 0:
		return nil, fs.ErrNotExist
	case info.size > limit:
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, info.size)
	}
	raw := make([]byte, info.size)
	var pinned runtime.Pinner
	pinned.Pin(unsafe.SliceData(raw))
	defer pinned.Unpin()
	info = btfInfo{btf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))), size: uint32(len(raw))}
	// SAFETY: the kernel writes at most Sizeof(info) bytes to info, and at most info.size bytes to raw, which stays
	// pinned until the call returns.
	if err := objInfo(fd, unsafe.Pointer(&info), unsafe.Sizeof(info)); err != nil {
		return nil, err
	}
	return raw, nil
}
