// Package arenaset holds programs that use an arena's heap, lists, queues and tables. They serve tests
// and benchmarks, and are examples of how to use the C headers.
package arenaset

//go:generate go tool bpf2go -target bpfel -go-package arenaset -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type job -type context bpf arenaset.bpf.c

import "github.com/cilium/ebpf"

// Names of the programs and of their arena map.
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

// Job describes the work of a program and receives its results. It must be in the arena.
type Job = bpfJob

// Context is the context that each program takes: the address of its Job.
type Context = bpfContext

// Spec returns all programs and maps.
func Spec() (*ebpf.CollectionSpec, error) { return loadBpf() }
