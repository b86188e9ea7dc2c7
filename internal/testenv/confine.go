package testenv

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoSeccomp is returned by [Confine] if the kernel has no seccomp filters.
var ErrNoSeccomp = errors.New("no seccomp filters")

// Confine makes SIGSYS end this process at every later system call that opens, examines or executes
// a file, uses bpf(2), or inspects a process. The Go runtime then prints the stack of the caller.
// Confine cannot be undone.
func Confine() error {
	refused := []uint32{
		unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2,
		unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_GETDENTS64, unix.SYS_EXECVE, unix.SYS_EXECVEAT,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_SOCKET, unix.SYS_MEMFD_CREATE,
		unix.SYS_KILL, unix.SYS_PIDFD_OPEN, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV,
	}
	// Offset 0 of struct seccomp_data is the number of the system call.
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for i, nr := range refused {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: uint8(len(refused) - i)})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRAP})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	switch errno {
	case 0:
		return nil
	case unix.EINVAL, unix.ENOSYS:
		return ErrNoSeccomp
	}
	return fmt.Errorf("install seccomp filter: %w", errno)
}
