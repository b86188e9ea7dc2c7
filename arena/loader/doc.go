// Package loader loads BPF programs that use arenas. cilium/ebpf v0.22 alone cannot: it drops the
// instructions that convert arena pointers, and refuses objects with variables in an arena.
//
//	spec, err := loader.LoadCollectionSpec("program.o")
//	...
//	c, err := loader.NewCollection(spec, loader.Options{Arenas: map[string]*arena.Arena{"arena": a}})
//	...
//	defer c.Close()
//	ret, err := c.Programs["entry"].Run(&ebpf.RunOptions{})
//
// "arena" is the name of the object's arena map, as bpf/headers/arena.h declares it. Without the option,
// NewCollection creates the arena, of the number of pages in spec.Maps["arena"].MaxEntries (arena.h
// declares 1), and c.Arenas["arena"] holds it. Programs are attached as those of any [ebpf.Collection].
// Loading requires CAP_BPF and CAP_PERFMON.
//
// The functions may be called by many goroutines at once. The caller owns and closes each [Collection].
package loader
