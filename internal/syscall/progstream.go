package syscall

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Stream is one of the two streams of a program (include/uapi/linux/bpf.h, BPF_STREAM_STDOUT and BPF_STREAM_STDERR).
type Stream uint32

// The streams.
const (
	StreamOut Stream = 1
	StreamErr Stream = 2
)

// progStreamRead is BPF_PROG_STREAM_READ_BY_FD of enum bpf_cmd.
const progStreamRead = 37

// streamRead is the member prog_stream_read of union bpf_attr.
type streamRead struct {
	buf            uint64
	size           uint32
	stream, progFD uint32
	_              uint32
}

// ReadStream moves what a program's stream has into buf, and returns how many bytes that is; 0 if there is nothing. The error
// matches [ebpf.ErrNotSupported] before Linux 6.17 (kernel/bpf/syscall.c, prog_stream_read).
//
// SAFETY: the kernel writes at most len(buf) bytes to buf, which stays pinned until the call returns, and reads Sizeof(attr)
// bytes of attr, whose address is converted in the call itself.
func ReadStream(prog *ebpf.Program, stream Stream, buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	var pinned runtime.Pinner
	p := unsafe.SliceData(buf)
	pinned.Pin(p)
	defer pinned.Unpin()
	attr := streamRead{buf: uint64(uintptr(unsafe.Pointer(p))), size: uint32(len(buf)), stream: uint32(stream), progFD: uint32(prog.FD())}
	n, _, errno := unix.Syscall(unix.SYS_BPF, progStreamRead, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(prog)
	switch {
	case errno == 0:
		return int(n), nil
	case errors.Is(errno, unix.EINVAL):
		return 0, fmt.Errorf("%w: this kernel has no streams of programs (Linux 6.17)", ebpf.ErrNotSupported)
	}
	return 0, errno
}
