package syscall

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Commands of membarrier(2), include/uapi/linux/membarrier.h.
const (
	membarrierQuery             = 0
	membarrierGlobal            = 1 << 0
	membarrierExpedited         = 1 << 3
	membarrierRegisterExpedited = 1 << 4
)

// Membarrier returns after every processor has executed a full memory barrier
// (MEMBARRIER_CMD_GLOBAL, litmus reserve-settle). It waits for an RCU grace period, some
// milliseconds, in which the thread sleeps.
func Membarrier() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return os.NewSyscallError("membarrier", errno)
	}
	return nil
}

// CheckMembarrier returns an error if Membarrier does not work here. The error matches
// [ebpf.ErrNotSupported] if the kernel was built without it, or runs processors without a tick
// (nohz_full).
var CheckMembarrier = sync.OnceValue(func() error {
	commands, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierQuery, 0, 0)
	switch {
	case errno != 0 && !errors.Is(errno, unix.ENOSYS):
		return os.NewSyscallError("membarrier", errno)
	case errno != 0 || commands&membarrierGlobal == 0:
		return fmt.Errorf("membarrier(2) with MEMBARRIER_CMD_GLOBAL: %w", ebpf.ErrNotSupported)
	}
	return nil
})

var (
	expedite  sync.Once
	expedited atomic.Bool
)

// RegisterExpedited registers this process for [ExpeditedMembarrier]. It returns at once; the
// registration takes some tens of milliseconds.
func RegisterExpedited() {
	expedite.Do(func() {
		go func() {
			_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierRegisterExpedited, 0, 0)
			expedited.Store(errno == 0)
		}()
	})
}

// Expedited reports whether the process is registered for ExpeditedMembarrier. It stays false where
// the kernel or a seccomp filter refuses that.
func Expedited() bool { return expedited.Load() }

// ExpeditedMembarrier returns after every thread of this process that runs has executed a full memory
// barrier (MEMBARRIER_CMD_PRIVATE_EXPEDITED in kernel/sched/membarrier.c, litmus lease-close). It takes
// some microseconds. Call it only if Expedited returns true.
func ExpeditedMembarrier() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierExpedited, 0, 0); errno != 0 {
		return os.NewSyscallError("membarrier", errno)
	}
	return nil
}
