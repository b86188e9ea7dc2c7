package container

import (
	"fmt"
	"runtime/debug"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
)

// A Heap gives out memory of an arena, to programs and processes alike. Nobody
// ever waits for anybody: a process that is killed, or a program that interrupts
// another, leaves nothing locked.
//
//	page 0    super: identity, how far the heap reaches, roots
//	page 1    a free list for each size of blocks
//	page 2..  blocks: header (8 bytes), data
//
// Memory comes from a free list, which is a stack whose head carries a tag, so that a head
// that was taken and put back is not mistaken for the one that was read; else
// from where nothing was allocated yet. It never goes back to the kernel, nor to blocks of
// another size: what once was a block always is one, so that a reader that comes
// too late reads garbage, which it must notice, and never faults.
//
// Killing a process loses at most the blocks that it holds: those that it allocated and
// did not publish, took out and did not free, or was allocating or freeing. The tag
// has 32 bits: whoever sleeps between two instructions while exactly a multiple of 2^32
// blocks of one size are taken breaks the list.
//
// bpf/headers/arena_heap.h is the same heap in C, compiled for pages of 4 KiB: on kernels with
// other pages [Format] and [OpenHeap] fail with [ebpf.ErrNotSupported].
type Heap struct {
	h *arenamem.Heap
	a *arena.Arena
}

// Format gives the arena a heap, or opens the one that it has. The heap takes all pages but the first
// two and those at the end that hold variables of programs (see package loader). Any number of
// processes may call Format at once, and a process killed during the call leaves the arena usable.
//
// Errors: [ErrFormat] if page 0 has other contents; [ErrFull] if fewer than three pages are left;
// [ebpf.ErrNotSupported] if the kernel's pages are not of 4 KiB.
func Format(a *arena.Arena) (*Heap, error) {
	h, err := arenamem.Of(a).Format()
	if err != nil {
		return nil, fmt.Errorf("format arena: %w", err)
	}
	return &Heap{h, a}, nil
}

// OpenHeap returns the heap that a process gave to the arena with [Format]. The
// error is [ErrFormat] if there is none or it is corrupt, and [ebpf.ErrNotSupported] if the
// kernel's pages are not of 4 KiB.
func OpenHeap(a *arena.Arena) (*Heap, error) {
	h, err := arenamem.Of(a).OpenHeap()
	if err != nil {
		return nil, fmt.Errorf("open heap: %w", err)
	}
	return &Heap{h, a}, nil
}

// Arena is what the heap lies in.
func (h *Heap) Arena() *arena.Arena { return h.a }

// Alloc returns size bytes, aligned to 8, which are not cleared. Errors: [ErrFull],
// [ErrTooLarge], [ErrContended], [arena.ErrAbsent].
func (h *Heap) Alloc(size uint64) (p arena.Ptr[byte], err error) {
	defer h.h.Catch("allocate", debug.SetPanicOnFault(true), &err)
	ref, err := h.h.Alloc(size)
	if err != nil {
		return 0, fmt.Errorf("allocate %d bytes: %w", size, err)
	}
	return arena.Ptr[byte](h.h.Address(ref)), nil
}

// Grow makes the pages up to end bytes from the base present, and some more. Programs
// that may not sleep allocate only from pages that are: before Linux 7.0 they cannot
// make any. Errors: [ErrFull], [arena.ErrAbsent].
func (h *Heap) Grow(end uint64) (err error) {
	defer h.h.Catch("grow", debug.SetPanicOnFault(true), &err)
	return h.h.Grow(end)
}

// Free gives back what [Heap.Alloc], or arena_alloc, returned. What is not
// allocated is left alone: the error is [ErrNotAllocated]. After [ErrContended] and [arena.ErrAbsent] the
// block is lost.
func (h *Heap) Free(p arena.Ptr[byte]) (err error) {
	defer h.h.Catch("free", debug.SetPanicOnFault(true), &err)
	if off := h.h.Mem.Offset(uint64(p)); p == 0 || off >= h.h.Mem.Size {
		return fmt.Errorf("free: %w", h.h.Mem.PointerError(uint64(p), 1, 1))
	}
	if err := h.h.Free(uint32(p)); err != nil {
		return fmt.Errorf("free %#x: %w", uint64(p), err)
	}
	return nil
}

// New allocates a T and clears it.
func New[T any](h *Heap) (arena.Ptr[T], *T, error) {
	var zero T
	p, err := h.Alloc(uint64(unsafe.Sizeof(zero)))
	if err != nil {
		return 0, nil, err
	}
	t, err := arena.Ptr[T](p).In(h.a)
	if err != nil {
		return 0, nil, err
	}
	if err := h.a.Guard(func() error { *t = zero; return nil }); err != nil {
		return 0, nil, err
	}
	return arena.Ptr[T](p), t, nil
}
