package container

import (
	"fmt"
	"runtime/debug"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
)

// Heap allocates memory of an arena. Programs and processes use it at once, without locks.
//
//	byte 0      superblock: identity, limits, roots
//	byte 4096   a free list for each block size
//	next page.. blocks: a header of 8 bytes, then the data
//
// An allocation takes a block from the free list of its size. If the list is empty, it makes a block from
// memory that was never allocated. A free list is a stack. Its head has a tag that counts changes, so
// that a compare-and-swap fails if the first block was popped and pushed again meanwhile. Blocks never
// return to the kernel and never change their size: if a block is freed while a process reads it, the
// reader does not fault. It reads garbage, which it must detect.
//
// A killed process loses at most the blocks that it held: blocks that it allocated and had not published,
// removed from a structure and had not freed, or was allocating or freeing. The tag has 32 bits: if a
// process sleeps between two instructions of an operation while a free list changes exactly 2^32 times,
// or a multiple of that, it corrupts the list.
//
// bpf/headers/arena_heap.h is the same heap in C. The layout is the same for all page sizes. Pages are
// allocated by the page size of the kernel on which the heap was made, which the superblock states: a copy
// of the arena on a kernel with another page size is refused.
//
// All methods may be called by many goroutines at once. A Heap needs no Close: the caller closes its
// arena.
type Heap struct {
	h *arenamem.Heap
	a *arena.Arena
}

// Format creates a heap in the arena, or opens the existing heap. The heap takes all pages except those
// at the end that hold variables of programs (see package loader). Any number of processes may call
// Format at once. If a process is killed during the call, the arena stays usable.
//
// The error matches [ErrFormat] if page 0 holds other data or a heap that was made for another page size,
// and [ErrFull] if no page is left for blocks.
func Format(a *arena.Arena) (*Heap, error) {
	h, err := arenamem.Of(a).Format()
	if err != nil {
		return nil, fmt.Errorf("format arena: %w", err)
	}
	return &Heap{h, a}, nil
}

// OpenHeap opens the heap that [Format] created. The error matches [ErrFormat] if there is none, its
// superblock is corrupt, or it was made for another page size.
func OpenHeap(a *arena.Arena) (*Heap, error) {
	h, err := arenamem.Of(a).OpenHeap()
	if err != nil {
		return nil, fmt.Errorf("open heap: %w", err)
	}
	return &Heap{h, a}, nil
}

// Arena returns the arena of the heap.
func (h *Heap) Arena() *arena.Arena { return h.a }

// Alloc allocates size bytes, at most 2 GiB minus 8. The block is aligned to 8 and not cleared. The
// caller owns it and frees it with [Heap.Free]; the end of the process does not free it. Errors:
// [ErrFull], [ErrTooLarge], [ErrContended], [ErrCorrupt], [arena.ErrAbsent].
func (h *Heap) Alloc(size uint64) (p arena.Ptr[byte], err error) {
	defer h.h.Catch("allocate", debug.SetPanicOnFault(true), &err)
	ref, err := h.h.Alloc(size)
	if err != nil {
		return 0, fmt.Errorf("allocate %d bytes: %w", size, err)
	}
	return arena.Ptr[byte](h.h.Address(ref)), nil
}

// Grow allocates the pages up to end, an offset in bytes from the arena's base, and 64 KiB more. Before
// Linux 7.0, programs that cannot sleep cannot allocate pages: arena_alloc succeeds in them only if the
// pages of the block are present. Call Grow before such programs run. Errors: [ErrFull] if the heap ends
// before end, [ErrCorrupt], [arena.ErrAbsent].
func (h *Heap) Grow(end uint64) (err error) {
	defer h.h.Catch("grow", debug.SetPanicOnFault(true), &err)
	return h.h.Grow(end)
}

// Free frees a block of [Heap.Alloc], [New] or arena_alloc. If the block is not allocated, Free changes
// nothing and the error matches [ErrNotAllocated], or [arena.ErrPointer] if p is 0 or outside the arena.
// After [ErrContended] and [arena.ErrAbsent] the block is lost: it is neither used nor free.
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

// New allocates a T and clears it. T must hold no Go pointers. New returns the address in the arena and
// the Go pointer that [arena.Ptr.In] returns for it. The caller owns the T and frees it by its address,
// h.Free(arena.Ptr[byte](p)). Errors are those of [Heap.Alloc].
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
