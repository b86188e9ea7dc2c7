package syscall

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TaskFD is what BPF_TASK_FD_QUERY says about a descriptor of a process
// (bpf_task_fd_query in kernel/bpf/syscall.c).
type TaskFD struct {
	Program uint32 // the id of the program that is attached to the event
	Type    uint32 // enum bpf_task_fd_type: TaskFDTracepoint and the others
	// Name is a tracepoint's or a function's name, or a file's.
	Name    string
	Offset  uint64 // of a probe in Name
	Address uint64 // of a kernel probe without a name
}

// enum bpf_task_fd_type, include/uapi/linux/bpf.h.
const (
	TaskFDRawTracepoint = iota
	TaskFDTracepoint
	TaskFDKprobe
	TaskFDKretprobe
	TaskFDUprobe
	TaskFDUretprobe
)

// QueryTaskFD asks which program is attached to the perf event, or the raw
// tracepoint, that process pid has open as fd. It needs CAP_SYS_ADMIN. A
// descriptor of anything else, or without a program, is an error.
func QueryTaskFD(pid, fd int) (TaskFD, error) {
	name := make([]byte, 512)
	var pinner runtime.Pinner // attr has its address as a number
	defer pinner.Unpin()
	pinner.Pin(&name[0])
	// union bpf_attr, its member task_fd_query.
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
	// ENOSPC: the name is longer and was cut off.
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
