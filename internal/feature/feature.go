// Package feature tells which of a list of named features the running kernel has. It tries each
// feature; it never compares versions.
//
// `rbtool features` shows the features that matter to a user. A test that needs a missing feature
// skips and names the feature. vmtest compares such skips with the result of the trial in the same
// guest and with its list of kernels. Trials need root; those that pin something need a bpffs on
// /sys/fs/bpf. Two trials must not run at the same time.
package feature

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
)

// Feature is something that a kernel has or lacks, and a trial that finds out which.
type Feature struct {
	// Name is the name of the feature in skips, in error messages and in vmtest's list of kernels.
	Name string
	// For says what rbtool needs the feature for. It is empty if only tests need the feature.
	For string
	// Have tries the feature. It returns nil if the kernel has it, else an error with the reason.
	Have func() error
}

// Find returns the feature with this name.
func Find(name string) (Feature, bool) {
	i := slices.IndexFunc(all, func(f Feature) bool { return f.Name == name })
	if i < 0 {
		return Feature{}, false
	}
	return all[i], true
}

// All returns all features, roughly in the order of the Linux versions that introduced them.
func All() []Feature { return slices.Clone(all) }

var all = []Feature{
	{"bpftool", "", command("bpftool")}, // tests compare rbtool's output with its output
	{"go-tool", "", command("go")},      // tests build and list packages
	{"gcc", "", command("gcc")},         // tests build programs with debugging information
	{"tshark", "", command("tshark")},   // tests read captures with it
	{"shells", "", shells},              // bash, zsh and fish complete command lines
	{"clang", "", command("clang-19")},  // tests compare layouts of C types with clang's
	{"btf", "programs that follow the kernel's structures, and record types by name", kernelBTF},
	{"cgroup2", "", cgroup2},
	{"tracefs", "", tracefs},
	{"initial-pid-namespace", "", initialPIDNamespace},
	{"cpu-hotplug", "", cpuHotplug}, // tests switch a CPU off and on
	{"fentry", "programs on kernel functions", fentry},
	{"ringbuf", "ring buffers", mapType(ebpf.RingBuf)},
	{"ringbuf-reserve", "records written in place", helper(ebpf.RawTracepoint, asm.FnRingbufReserve)},
	{"ringbuf-output", "records copied into a ring", helper(ebpf.RawTracepoint, asm.FnRingbufOutput)},
	{"iter-bpf-map", "positions of all rings without mapping them (ls, inspect)", iterator("bpf_map")},
	{"iter-task-file", "which processes hold a map (ls, inspect)", iterator("task_file")},
	{"iter-task-vma", "which process consumes a ring (ls, inspect, tail)", iterator("task_vma")},
	{"bpf-syscall-program", "programs run by hand: drain, arena page allocation", programType(ebpf.Syscall)},
	{"ringbuf-hold", "a record kept BUSY by a test", helper(ebpf.Syscall, asm.FnCopyFromUser)},
	{"func-pointer-argument", "", pointerArguments},
	{"bpf-timer", "", helper(ebpf.XDP, asm.FnTimerInit)},
	{"map-of-maps-batch", "", innerMapsBatch},
	{"bpf-loop", "", helper(ebpf.RawTracepoint, asm.FnLoop)},
	{"ringbuf-dynptr", "records of variable size written in place", helper(ebpf.RawTracepoint, asm.FnRingbufReserveDynptr)},
	{"user_ringbuf", "user ring buffers", mapType(ebpf.UserRingbuf)},
	{"user_ringbuf-drain", "programs that read a user ring buffer", helper(ebpf.Syscall, asm.FnUserRingbufDrain)},
	{"drain-fexit", "failed drains of user ring buffers, counted (drops, exporter --drops)", drainResults},
	{"unprivileged-obj-info", "", unprivilegedInfo},
	{"unprivileged-obj-get", "", unprivilegedGet},
	{"task-kptr", "watch lists of tasks that are immune to reuse of a pid", kfunc("bpf_task_from_pid")},
	{"arena", "arenas", mapType(ebpf.Arena)},
	{"arena-cast", "programs that use arena pointers", arenaCast},
	{"arena-reserve-pages", "guard pages in arenas", kfunc("bpf_arena_reserve_pages")},
	{"ringbuf-overwrite", "rings that overwrite their oldest records", overwrite},
	{"veth", "", veth},
	{"qdisc-ingress", "", qdisc("ingress")},
	{"qdisc-htb", "", qdisc("htb")},
	{"qdisc-clsact", "", qdisc("clsact")},
	{"cls-bpf", "", clsBPF},
	{"tcx", "", tcx},
	{"kprobe", "", kprobe},
	{"perf-event-link", "", perfEventLink},
	{"kprobe-multi", "", kprobeMulti},
	{"drops", "lost records counted, by program (drops)", drops(ringcalls.Fexit, ringcalls.Breakpoint)},
	{"drops-fexit", "", drops(ringcalls.Fexit)},
	{"drops-breakpoint", "", drops(ringcalls.Breakpoint)},
}
