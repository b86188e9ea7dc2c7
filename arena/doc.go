// Package arena maps arenas (BPF_MAP_TYPE_ARENA, Linux 6.9): sparse memory that BPF programs and
// processes share at one address, so that both follow the same pointers.
//
//	a, err := arena.Create(arena.Options{Size: 64 << 20}) // or Open
//	...
//	defer a.Close()
//	n, err := arena.Ptr[uint64](addr).In(a) // n: a *uint64 in the arena
//	...
//	atomic.AddUint64(n, 1)
//
// The kernel has arenas on x86-64 and arm64, with the JIT. Creating an arena requires CAP_BPF; programs
// that use one require CAP_BPF and CAP_PERFMON.
//
// An [Arena] is the memory, and a [Ptr] is a checked pointer into it. Both work with any arena, whatever
// programs store in it:
//
//	       Base                                            Base+Size
//	       +--------+--------+- - - - -+--------+- - - - - +
//	pages  | present| present|  absent | present|  absent  |
//	       +--------+--------+- - - - -+--------+- - - - - +
//
// Package [github.com/rbtool/rbtool/arena/container] puts a heap, lists, queues and hash tables into an
// arena. Package [github.com/rbtool/rbtool/arena/loader] loads programs that use an arena.
//
// # Untrusted contents
//
// Other processes and programs may write and free any page at any time. The operations of these
// packages return an error for corrupt contents and absent pages, such as [ErrPointer] and [ErrAbsent]:
// test for them with errors.Is. They do not fault, loop forever or access memory outside the arena. If a
// page may be absent, guard your own accesses to memory from [Ptr.In] and [Arena.Bytes] with
// [Arena.Guard].
//
// # Concurrency
//
// All types may be used by many goroutines, processes and programs at once. Only [Arena.Close] must
// not run together with other calls: it unmaps the memory that they returned.
package arena
