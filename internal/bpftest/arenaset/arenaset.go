// Package arenaset holds programs that use an arena's heap, lists, queues and tables: for tests and
// benchmarks, and as examples of the C headers.
package arenaset

//go:generate go tool bpf2go -target bpfel -go-package arenaset -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type job -type context bpf arenaset.bpf.c

import "github.com/cilium/ebpf"

// Names of the programs and of their arena.
const (
	ListBuild    = bpfProgListBuild
	ListFree     = bpfProgListFree
	HeapStorm    = bpfProgHeapStorm
	QueuePut     = bpfProgQueuePut
	QueueTake    = bpfProgQueueTake
	TableStorm   = bpfProgTableStorm
	TableStormTP = bpfProgTableStormTp
	Exhausted    = bpfProgTableExhausted
	Arena        = bpfMapArena
)

// Job describes the work of a program, and holds its results. It lies in the arena.
type Job = bpfJob

// Context is the context of a program.
type Context = bpfContext

// Spec returns the programs.
func Spec() (*ebpf.CollectionSpec, error) { return loadBpf() }
