package container

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
)

// Link mirrors struct arena_link. It is the first field of each node of a [List]. The list writes it while
// the node is in the list: do not change it.
type Link struct {
	Next arena.Ptr[Link]
}

// list mirrors struct arena_list.
type list struct {
	head uint64 // reference to the first node | number of pops << 32
}

// List is a singly linked list in a heap, used as a stack. Programs push and pop with
// bpf/headers/arena_list.h. The nodes are blocks of the heap, such as those of [New]. The list neither
// allocates nor frees them: a node may be freed after [List.Pop] has returned it, not before.
//
// The list's head counts pops, but not pushes. A walk is correct if the count did not change during it:
// no node can be freed before it is popped.
//
// All methods may be called by many goroutines, processes and programs at once.
type List struct {
	h *arenamem.Heap
	l *list
	p arena.Ptr[byte]
}

// NewList creates an empty list with a name, as [Heap.AddRoot] does. Errors are those of [Heap.Alloc] and
// Heap.AddRoot.
func NewList(h *Heap, name string) (*List, error) {
	p, l, err := New[list](h)
	if err != nil {
		return nil, fmt.Errorf("create list %q: %w", name, err)
	}
	if _, err := h.AddRoot(name, KindList, arena.Ptr[byte](p)); err != nil {
		h.Free(arena.Ptr[byte](p))
		return nil, fmt.Errorf("create list %q: %w", name, err)
	}
	return &List{h.h, l, arena.Ptr[byte](p)}, nil
}

// OpenList opens a list by its name. Errors are those of [Heap.Root], and [ErrCorrupt].
func OpenList(h *Heap, name string) (*List, error) {
	r, err := h.Root(name, KindList)
	if err != nil {
		return nil, fmt.Errorf("open list %q: %w", name, err)
	}
	// SAFETY: At returns nil unless the whole list lies in the mapping.
	l := (*list)(h.h.At(uint32(r.Ptr), uint64(unsafe.Sizeof(list{}))))
	if l == nil {
		return nil, fmt.Errorf("open list %q: %w: its address %#x is not in the heap", name, ErrCorrupt, uint64(r.Ptr))
	}
	return &List{h.h, l, r.Ptr}, nil
}

// Push adds the node at p, a block of the heap that begins with a [Link], at the front. The node must not
// be in a list already. Errors: [arena.ErrPointer] if p is 0, not a multiple of 8 or outside the arena;
// [ErrContended]; [arena.ErrAbsent].
func (l *List) Push(p arena.Ptr[Link]) (err error) {
	node := (*Link)(l.h.Mem.Pointer(uint64(p), linkSize, linkSize))
	if node == nil {
		return fmt.Errorf("push: %w", l.h.Mem.PointerError(uint64(p), linkSize, linkSize))
	}
	defer l.h.Catch("push", debug.SetPanicOnFault(true), &err)
	for range arenamem.MaxTries {
		head := atomic.LoadUint64(&l.l.head)
		next := uint64(0)
		if ref := uint32(head); ref != 0 {
			next = l.h.Address(ref)
		}
		atomic.StoreUint64((*uint64)(&node.Next), next)
		// The swap publishes node.Next. Its partner is the load of the list's head in Pop, or in
		// arena_list_pop (litmus list-push).
		if atomic.CompareAndSwapUint64(&l.l.head, head, head>>32<<32|uint64(uint32(p))) {
			return nil
		}
	}
	return fmt.Errorf("push: %w", ErrContended)
}

// Pop removes the first node, which the caller then owns, and returns its address. Errors: [ErrEmpty];
// [ErrContended]; [ErrCorrupt] if the head does not point into the heap; [arena.ErrAbsent].
func (l *List) Pop() (p arena.Ptr[Link], err error) {
	if l.h.Mem.Size == 0 {
		return 0, arenamem.ErrClosed
	}
	defer l.h.Catch("pop", debug.SetPanicOnFault(true), &err)
	for range arenamem.MaxTries {
		head := atomic.LoadUint64(&l.l.head)
		ref := uint32(head)
		if ref == 0 {
			return 0, ErrEmpty
		}
		node := l.h.Word(ref)
		if node == nil {
			return 0, fmt.Errorf("pop: %w: the list's head points to %#x, not into the heap", ErrCorrupt, l.h.Address(ref))
		}
		// Others may pop and reuse the node before this load. Then next is wrong, and the swap fails
		// (litmus list-pop).
		next := atomic.LoadUint64(node)
		if atomic.CompareAndSwapUint64(&l.l.head, head, arenamem.Tagged(head, uint32(next))) {
			return arena.Ptr[Link](l.h.Address(ref)), nil
		}
	}
	return 0, fmt.Errorf("pop: %w", ErrContended)
}
