package testenv

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoSeccomp is returned by [Confine] and [WithoutFixedMemory] if the kernel has no seccomp filters.
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
	return seccomp(filter, unix.SECCOMP_FILTER_FLAG_TSYNC)
}

// WithoutFixedMemory calls f on a thread of its own, on which mmap(2) fails with ENOMEM if it is to put
// private memory over at most 1 MiB of other memory, with MAP_NORESERVE. The Go runtime does not map
// memory so, and works as before. WithoutFixedMemory returns the error of f.
func WithoutFixedMemory(f func() error) error {
	// Offsets in struct seccomp_data: the number, and the low halves of args[1] and args[3].
	const number, length, flags = 0, 16 + 8, 16 + 3*8
	const over = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE | unix.MAP_FIXED
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // no UnlockOSThread: the filter ends with the thread
		err := seccomp([]unix.SockFilter{
			load(number),
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MMAP, Jf: 5},
			load(flags),
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: over, Jf: 3},
			load(length),
			{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: 1 << 20, Jt: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOMEM)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}, 0)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// seccomp installs a filter of system calls. Without flags it holds for the calling thread only.
func seccomp(filter []unix.SockFilter, flags uintptr) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	switch errno {
	case 0:
		return nil
	case unix.EINVAL, unix.ENOSYS:
		return ErrNoSeccomp
	}
	return fmt.Errorf("install seccomp filter: %w", errno)
}
