// Package loader loads BPF programs that use arenas. cilium/ebpf v0.22 alone cannot: it drops the
// instructions that convert arena pointers, and refuses objects with variables in an arena.
//
//	spec, err := loader.LoadCollectionSpec("program.o")
//	...
//	c, err := loader.NewCollection(spec, loader.Options{Arenas: map[string]*arena.Arena{"arena": a}})
//	...
//	defer c.Close()
//
// The functions may be called by many goroutines at once. The caller owns and closes each [Collection].
package loader
