package feature

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/mapflag"
)

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
	_, err := kernelbtf.Cache().Kernel()
	return err
}

// iterator returns a trial that loads an empty BPF iterator over target (kernel/bpf/bpf_iter.c).
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

// fentry loads an empty fentry program for vfs_read, a function that all kernels have.
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

// overwrite creates a ring with the flag BPF_F_RB_OVERWRITE (include/uapi/linux/bpf.h).
func overwrite() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "feature", Type: ebpf.RingBuf, MaxEntries: 64 << 10, Flags: mapflag.RBOverwrite})
	if err != nil {
		return fmt.Errorf("create map: %w", err)
	}
	if got := m.Flags(); got&mapflag.RBOverwrite == 0 {
		return errors.Join(fmt.Errorf("create map: the kernel ignored BPF_F_RB_OVERWRITE: the map's flags are %#x", got), m.Close())
	}
	return m.Close()
}

// innerMapsBatch reads a map of maps with BPF_MAP_LOOKUP_BATCH (kernel/bpf/arraymap.c, array_of_maps_map_ops).
func innerMapsBatch() error {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "feature", Type: ebpf.ArrayOfMaps, KeySize: 4, MaxEntries: 1, InnerMap: inner})
	if err != nil {
		return fmt.Errorf("create map: %w", err)
	}
	defer m.Close()
	var position ebpf.MapBatchCursor
	if _, err := m.BatchLookup(&position, make([]uint32, 1), make([]uint32, 1), nil); !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil // the map is empty
}

// arenaCast creates an arena and loads a program that accesses it, which needs support by the JIT
// too.
func arenaCast() error {
	const base = 0x1555_0000_0000
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "feature", Type: ebpf.Arena, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE, MapExtra: base})
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

// pointerArguments loads a program with a global function that takes a pointer to a number
// (kernel/bpf/btf.c, btf_prepare_func_args).
func pointerArguments() error {
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	function := func(name string, arg btf.Type) *btf.Func {
		proto := &btf.FuncProto{Return: number, Params: []btf.FuncParam{{Name: "arg", Type: &btf.Pointer{Target: arg}}}}
		return &btf.Func{Name: name, Type: proto, Linkage: btf.GlobalFunc}
	}
	first := func(name string, arg btf.Type) asm.Instruction {
		return btf.WithFuncMetadata(asm.Mov.Imm(asm.R0, 0), function(name, arg)).WithSymbol(name)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{
			first("program", &btf.Void{}), asm.Mov.Imm(asm.R1, 0), asm.Call.Label("called"), asm.Return(),
			first("called", number), asm.Return(),
		},
	})
	if err != nil {
		return err
	}
	return p.Close()
}

// kfunc returns a trial that looks for a kernel function that programs may call (a kfunc).
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
