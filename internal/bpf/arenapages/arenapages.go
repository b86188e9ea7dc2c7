// Package arenapages holds the programs that allocate and free pages of an arena, and read its
// memory without allocating pages. Package arena loads them.
package arenapages

//go:generate go tool bpf2go -target bpfel -go-package arenapages -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type page_range -type copy bpf arenapages.bpf.c

import "github.com/cilium/ebpf"

// Names of the programs and of their arena.
const (
	AllocPages = bpfProgAllocPages
	FreePages  = bpfProgFreePages
	CopyOut    = bpfProgCopyOut
	Arena      = bpfMapArena
)

// Range is the context of AllocPages and FreePages.
type Range = bpfPageRange

// Copy is the context of CopyOut.
type Copy = bpfCopy

// Spec returns the programs.
func Spec() (*ebpf.CollectionSpec, error) { return loadBpf() }
