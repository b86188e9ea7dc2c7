// Package feature says what the running kernel can do of what rbtool needs, and
// what it is needed for. Each answer comes from a trial, never from a version.
package feature

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// Feature is something a kernel has or lacks.
type Feature struct {
	// Name is what tests, error messages and vmtest's kernel list call it.
	Name string
	// For is what it is needed for.
	For string
	// Have returns nil where the kernel has it, else what the trial got.
	Have func() error
}

// uses are the features that vmtest probes and that matter to a user. What is
// not here is a matter of the machine that runs tests.
var uses = map[string]string{
	"btf":                 "programs that follow the kernel's structures, and record types by name",
	"ringbuf":             "ring buffers",
	"ringbuf-reserve":     "records written in place",
	"ringbuf-output":      "records copied into a ring",
	"iter-bpf-map":        "positions of all rings without mapping them (ls, inspect)",
	"iter-task-file":      "which processes hold a map (ls, inspect)",
	"iter-task-vma":       "which process consumes a ring (ls, inspect, tail)",
	"bpf-syscall-program": "programs run by hand: drain, arena page allocation",
	"ringbuf-hold":        "a record kept BUSY by a test",
	"ringbuf-dynptr":      "records of variable size written in place",
	"user_ringbuf":        "user ring buffers",
	"user_ringbuf-drain":  "programs that read a user ring buffer",
	"arena":               "arenas",
	"fentry":              "programs on kernel functions: reservations that failed, counted",
	"ringbuf-overwrite":   "rings that overwrite their oldest records",
}

// more are features that no test of another package skips for.
var more = []Feature{
	{"arena-cast", "programs that use arena pointers", arenaCast},
	{"arena-reserve-pages", "guard pages in arenas", kfunc("bpf_arena_reserve_pages")},
	{"task-kptr", "watch lists of tasks that are immune to reuse of a pid", kfunc("bpf_task_from_pid")},
}

// All returns the features in the order in which Linux got them, those that
// nothing skips for at the end.
func All() []Feature {
	var all []Feature
	for _, p := range Trials {
		if use, ok := uses[p.Name]; ok {
			all = append(all, Feature{p.Name, use, p.Have})
		}
	}
	return append(all, more...)
}

// arenaCast says whether programs may refer to an arena, which needs the JIT too.
func arenaCast() error {
	const mmapable, base = 1 << 10, 0x1555_0000_0000
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "feature", Type: ebpf.Arena, MaxEntries: 1, Flags: mmapable, MapExtra: base})
	if err != nil {
		return err
	}
	defer m.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	return p.Close()
}

// kfunc says whether the kernel has a function for programs.
func kfunc(name string) func() error {
	return func() error {
		types, err := kernelbtf.Cache().Kernel()
		if err != nil {
			return err
		}
		var fn *btf.Func
		return types.TypeByName(name, &fn)
	}
}
