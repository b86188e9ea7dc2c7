// Package arena is for arenas (BPF_MAP_TYPE_ARENA, Linux 6.9): sparse memory that
// BPF programs and processes share at one address, so that data structures built
// on one side are walked on the other, with the same pointers.
//
//	a, err := arena.Create(arena.Options{Size: 64 << 20}) // or Open
//	...
//	defer a.Close()
//	h, err := a.Format() // a heap, for programs and processes
//	t, err := arena.NewTable(h, "sessions", arena.TableOptions{KeySize: 8, ValueSize: 64, Capacity: 1e6})
//	err = t.Put(key, value, arena.Any)
//
// Programs use the same heap, lists, queues and tables through the headers in
// bpf/headers: arena.h, arena_heap.h and so on. [LoadCollection] loads them, which
// cilium/ebpf v0.22 cannot do alone.
//
// # Layers
//
// An [Arena] is the memory, [Ptr] a checked pointer into it. Both serve any arena,
// whoever made it. A [Heap] gives the memory an order of its own, and [List],
// [Queue], [Table] and [KV] lie in one; they are found by name among its roots.
//
// # What others do
//
// Nothing here locks. A process may be killed anywhere, and a program may interrupt another
// one or a process, without holding up anybody; a killed process loses some blocks
// of memory at most (see [Heap]). The contents of an arena are never trusted: hostile values and
// freed pages give an error, not a fault, an endless loop or an access outside. The caller guards
// accesses to memory from [Ptr.In], [Arena.Bytes] and [Nodes] with [Arena.Guard] where a page may
// be absent.
//
// All types may be used by many goroutines, processes and programs at once. Only
// [Arena.Close] must come alone and last: memory that was got from the arena is gone after it.
package arenamem
