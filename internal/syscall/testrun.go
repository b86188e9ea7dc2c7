package syscall

import (
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// testRun is the test member of union bpf_attr (include/uapi/linux/bpf.h), up to cpu.
type testRun struct {
	progFD, retval, dataSizeIn, dataSizeOut uint32
	dataIn, dataOut                         uint64
	repeat, duration, ctxSizeIn, ctxSizeOut uint32
	ctxIn, ctxOut                           uint64
	flags, cpu                              uint32
}

// TestRun runs a program that takes no context, on this thread, and returns its
// result. It does what ebpf.Program.Run does, without the two system calls that
// mask the profiler's signal around it: they can take as long as the program.
//
// SAFETY: the kernel reads and writes at most the size given, and the address
// is taken in the call itself, which keeps attr in place.
func TestRun(prog *ebpf.Program) (uint32, error) {
	attr := testRun{progFD: uint32(prog.FD())}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return 0, errno
	}
	return attr.retval, nil
}

// TestRunOn is TestRun for a raw tracepoint program, with these arguments and on a CPU, where
// nothing preempts it (net/bpf/test_run.c, bpf_prog_test_run_raw_tp).
//
// SAFETY: as TestRun; the kernel reads args, which are kept until it has returned.
func TestRunOn(prog *ebpf.Program, cpu uint32, args []uint64) (uint32, error) {
	const onCPU = 1 // BPF_F_TEST_RUN_ON_CPU
	var pinned runtime.Pinner
	pinned.Pin(unsafe.SliceData(args)) // else it could lie on a stack, which moves
	defer pinned.Unpin()
	attr := testRun{
		progFD: uint32(prog.FD()), flags: onCPU, cpu: cpu,
		ctxIn: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(args)))), ctxSizeIn: uint32(8 * len(args)),
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return 0, errno
	}
	return attr.retval, nil
}
