package syscall

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TaskFD is what BPF_TASK_FD_QUERY reports about a descriptor of a process
// (bpf_task_fd_query in kernel/bpf/syscall.c).
type TaskFD struct {
	Program uint32 // id of the program that is attached to the event
	Type    uint32 // enum bpf_task_fd_type: TaskFDRawTracepoint and the constants after it
	// Name is the name of a tracepoint or function, or the path of a file.
	Name    string
	Offset  uint64 // offset of a probe in Name
	Address uint64 // address of a kernel probe without a Name
}

// Values of enum bpf_task_fd_type, include/uapi/linux/bpf.h.
const (
	TaskFDRawTracepoint = iota
	TaskFDTracepoint
	TaskFDKprobe
	TaskFDKretprobe
	TaskFDUprobe
	TaskFDUretprobe
)

// QueryTaskFD returns which program is attached to the perf event or raw tracepoint
// that process pid has open as fd. It needs CAP_SYS_ADMIN. It returns an error if fd
// is of another kind or has no program.
func QueryTaskFD(pid, fd int) (TaskFD, error) {
	name := make([]byte, 512)
	var pinner runtime.Pinner // name must not move: attr has its address as an integer
	defer pinner.Unpin()
	pinner.Pin(&name[0])
	// attr is the member task_fd_query of union bpf_attr.
	attr := struct {
		pid, fd, flags, bufLen uint32
		buf                    uint64
		progID, fdType         uint32
		offset, address        uint64
	}{
		pid: uint32(pid), fd: uint32(fd),
		bufLen: uint32(len(name)), buf: uint64(uintptr(unsafe.Pointer(&name[0]))),
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_TASK_FD_QUERY, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	// ENOSPC: the name is longer than the buffer and was truncated.
	if errno != 0 && errno != unix.ENOSPC {
		return TaskFD{}, errno
	}
	return TaskFD{
		Program: attr.progID,
		Type:    attr.fdType,
		Name:    unix.ByteSliceToString(name),
		Offset:  attr.offset,
		Address: attr.address,
	}, nil
}
