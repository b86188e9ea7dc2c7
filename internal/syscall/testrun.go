package syscall

import (
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// testRun is the member test of union bpf_attr (include/uapi/linux/bpf.h), up to the field
// cpu.
type testRun struct {
	progFD, retval, dataSizeIn, dataSizeOut uint32
	dataIn, dataOut                         uint64
	repeat, duration, ctxSizeIn, ctxSizeOut uint32
	ctxIn, ctxOut                           uint64
	flags, cpu                              uint32
}

// TestRun runs a program without a context, on this thread, and returns the program's
// result. Unlike ebpf.Program.Run it does not mask the profiler's signal, which needs two
// system calls that can take as long as the program.
//
// SAFETY: the kernel accesses at most Sizeof(attr) bytes of attr. The address is converted
// in the call itself, which keeps attr in place until the call returns.
func TestRun(prog *ebpf.Program) (uint32, error) {
	attr := testRun{progFD: uint32(prog.FD())}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return 0, errno
	}
	return attr.retval, nil
}

// TestRunOn is like TestRun, but runs a raw tracepoint program with the given arguments on the
// given CPU, where nothing preempts the program (net/bpf/test_run.c, bpf_prog_test_run_raw_tp).
//
// SAFETY: as in TestRun. The kernel also reads args, which stay pinned until the call returns.
func TestRunOn(prog *ebpf.Program, cpu uint32, args []uint64) (uint32, error) {
	const onCPU = 1 // BPF_F_TEST_RUN_ON_CPU
	var pinned runtime.Pinner
	pinned.Pin(unsafe.SliceData(args)) // otherwise args could be on a stack, which can move
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
