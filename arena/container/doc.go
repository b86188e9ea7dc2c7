// Package container keeps data structures in an arena that BPF programs and processes use at the same
// time: a heap with named roots, lists, queues and hash tables.
//
//	h, err := container.Format(a) // or OpenHeap
//	...
//	t, err := container.NewTable(h, "sessions", container.TableOptions{KeySize: 8, ValueSize: 64, Capacity: 1e6})
//	...
//	err = t.Put(key, value, ebpf.UpdateAny)
//
// Another process opens the arena with [arena.Open], its heap with [OpenHeap], and an object by its name
// with [OpenList], [OpenQueue], [OpenTable] or [OpenKV]. The objects stay in the arena until the arena
// itself ends; they need no Close, and cannot be removed.
//
// Programs use the same structures through the headers arena_heap.h, arena_list.h, arena_queue.h and
// arena_table.h of bpf/headers. Package [github.com/rbtool/rbtool/arena/loader] loads them.
//
// # Concurrency
//
// All types may be used by many goroutines, processes and programs at once. They have no locks, so a
// killed process or an interrupted program does not block others. A killed process loses some blocks of
// memory at most (see [Heap]). [arena.Arena.Close] must not run together with other calls. After Close,
// every operation returns an error matching [os.ErrClosed].
//
// # Errors
//
// The contents of an arena are never trusted. An operation that finds corrupt contents returns an error
// matching [ErrCorrupt], [ErrFormat] or [arena.ErrPointer]. An operation that accesses a page that is not
// allocated returns an error matching [arena.ErrAbsent]. The comment of each operation lists the errors
// that its error can match: test for them with errors.Is.
package container
