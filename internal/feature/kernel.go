package feature

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// Trial is something a kernel has or lacks.
type Trial struct {
	// Name is what tests call it.
	Name string
	// Have returns nil where the kernel has it, else what the trial got.
	Have func() error
}

// Trials are all that is probed, in the order in which Linux got them.
var Trials = []Trial{
	{"bpftool", bpftool},
	{"btf", kernelBTF},
	{"cgroup2", cgroup2},
	{"tracefs", tracefs},
	{"initial-pid-namespace", initialPIDNamespace},
	{"fentry", fentry},
	{"ringbuf", mapType(ebpf.RingBuf)},
	{"ringbuf-reserve", helper(ebpf.RawTracepoint, asm.FnRingbufReserve)},
	{"ringbuf-output", helper(ebpf.RawTracepoint, asm.FnRingbufOutput)},
	{"iter-bpf-map", iterator("bpf_map")},
	{"iter-task-file", iterator("task_file")},
	{"iter-task-vma", iterator("task_vma")},
	{"bpf-syscall-program", programType(ebpf.Syscall)},
	{"ringbuf-hold", helper(ebpf.Syscall, asm.FnCopyFromUser)},
	{"ringbuf-dynptr", helper(ebpf.RawTracepoint, asm.FnRingbufReserveDynptr)},
	{"user_ringbuf", mapType(ebpf.UserRingbuf)},
	{"user_ringbuf-drain", helper(ebpf.Syscall, asm.FnUserRingbufDrain)},
	{"unprivileged-obj-info", unprivilegedInfo},
	{"unprivileged-obj-get", unprivilegedGet},
	{"arena", mapType(ebpf.Arena)},
	{"ringbuf-overwrite", overwrite},
	{"veth", inNewNetns("ip link add probe0 type veth peer name probe1")},
	{"qdisc-ingress", inNewNetns("tc qdisc add dev lo ingress")},
	{"qdisc-htb", inNewNetns("tc qdisc add dev lo root handle 1: htb")},
	{"qdisc-clsact", inNewNetns("tc qdisc add dev lo clsact")},
	{"cls-bpf", clsBPF},
	{"tcx", tcx},
}

func mapType(t ebpf.MapType) func() error {
	return func() error { return features.HaveMapType(t) }
}

func programType(t ebpf.ProgramType) func() error {
	return func() error { return features.HaveProgramType(t) }
}

func helper(t ebpf.ProgramType, fn asm.BuiltinFunc) func() error {
	return func() error { return features.HaveProgramHelper(t, fn) }
}

func kernelBTF() error {
	_, err := btf.LoadKernelSpec()
	return err
}

// iterator loads the empty iterator over target (kernel/bpf/bpf_iter.c).
func iterator(target string) func() error {
	return func() error {
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type:         ebpf.Tracing,
			AttachType:   ebpf.AttachTraceIter,
			AttachTo:     target,
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
			License:      "GPL",
		})
		if err != nil {
			return fmt.Errorf("load iterator over %s: %w", target, err)
		}
		return prog.Close()
	}
}

// fentry loads an empty program at the entry of a function that all kernels have.
func fentry() error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceFEntry,
		AttachTo:     "vfs_read",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		return fmt.Errorf("load at entry of vfs_read: %w", err)
	}
	return prog.Close()
}

// overwrite creates a ring with BPF_F_RB_OVERWRITE (include/uapi/linux/bpf.h).
func overwrite() error {
	const flag = 1 << 19
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "vmtest_probe", Type: ebpf.RingBuf, MaxEntries: 64 << 10, Flags: flag})
	if err != nil {
		return fmt.Errorf("create map: %w", err)
	}
	if got := m.Flags(); got&flag == 0 {
		return errors.Join(fmt.Errorf("create map: flags %#x, the flag is not among them", got), m.Close())
	}
	return m.Close()
}
