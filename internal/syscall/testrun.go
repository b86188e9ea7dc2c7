package syscall

import (
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestRun runs a program that takes no context, on this thread, and returns its
// result. It does what ebpf.Program.Run does, without the two system calls that
// mask the profiler's signal around it: they can take as long as the program.
//
// SAFETY: the kernel reads and writes at most the size given, and the address
// is taken in the call itself, which keeps attr in place.
func TestRun(prog *ebpf.Program) (uint32, error) {
	// The test member of union bpf_attr (include/uapi/linux/bpf.h), up to cpu.
	attr := struct {
		progFD, retval, dataSizeIn, dataSizeOut uint32
		dataIn, dataOut                         uint64
		repeat, duration, ctxSizeIn, ctxSizeOut uint32
		ctxIn, ctxOut                           uint64
		flags, cpu                              uint32
	}{progFD: uint32(prog.FD())}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return 0, errno
	}
	return attr.retval, nil
}
