package arenamem

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// Link is struct arena_link: the first member of what is in a List.
type Link struct {
	Next Ptr[Link]
}

// list is struct arena_list.
type list struct {
	head uint64 // reference to the first, number of pops << 32
}

// List is a singly linked list of a heap: a stack. Programs push and pop with bpf/headers/arena_list.h.
//
// Pushing changes the head alone and popping counts in it. So a walk is right if the
// count did not change meanwhile: what was pushed is not freed.
type List struct {
	h *Heap
	l *list
	p Ptr[byte]
}

// NewList makes an empty list with a name. Errors are those of [Heap.Alloc] and [Heap.AddRoot].
func NewList(h *Heap, name string) (*List, error) {
	p, l, err := New[list](h)
	if err != nil {
		return nil, fmt.Errorf("create list %q: %w", name, err)
	}
	if _, err := h.AddRoot(name, KindList, Ptr[byte](p)); err != nil {
		h.Free(Ptr[byte](p))
		return nil, fmt.Errorf("create list %q: %w", name, err)
	}
	return &List{h, l, Ptr[byte](p)}, nil
}

// OpenList finds a list by its name. Errors are those of [Heap.Root].
func OpenList(h *Heap, name string) (*List, error) {
	r, err := h.Root(name, KindList)
	if err != nil {
		return nil, fmt.Errorf("open list %q: %w", name, err)
	}
	l := (*list)(h.at(uint32(r.Ptr), uint64(unsafe.Sizeof(list{}))))
	if l == nil {
		return nil, fmt.Errorf("open list %q: %w: it lies at %#x", name, ErrCorrupt, uint64(r.Ptr))
	}
	return &List{h, l, r.Ptr}, nil
}

// Ptr is where the list lies, for programs.
func (l *List) Ptr() Ptr[byte] { return l.p }

// Push puts a node, whose first member is a [Link], at the front. It must be in no
// list. Errors: [ErrPointer], [ErrBusy], [ErrAbsent].
func (l *List) Push(p Ptr[Link]) (err error) {
	node, err := p.In(l.h.a)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer l.h.catch("push", debug.SetPanicOnFault(true), &err)
	for range maxTries {
		head := atomic.LoadUint64(&l.l.head)
		next := uint64(0)
		if ref := uint32(head); ref != 0 {
			next = l.h.address(ref)
		}
		atomic.StoreUint64((*uint64)(&node.Next), next)
		// Its partner is the exchange in arena_list_pop, which then finds Next.
		if atomic.CompareAndSwapUint64(&l.l.head, head, head>>32<<32|uint64(uint32(p))) {
			return nil
		}
	}
	return fmt.Errorf("push: %w", ErrBusy)
}

// Pop takes the first node away. Errors: [ErrEmpty], [ErrBusy]; [ErrCorrupt] where the head
// does not lead into the heap, [ErrAbsent] where its page is not allocated.
func (l *List) Pop() (p Ptr[Link], err error) {
	if l.h.a.size == 0 {
		return 0, l.h.a.pointerError(0, 0, 1)
	}
	defer l.h.catch("pop", debug.SetPanicOnFault(true), &err)
	for range maxTries {
		head := atomic.LoadUint64(&l.l.head)
		ref := uint32(head)
		if ref == 0 {
			return 0, ErrEmpty
		}
		node := l.h.word(ref)
		if node == nil {
			return 0, fmt.Errorf("pop: %w: the head leads to %#x", ErrCorrupt, l.h.address(ref))
		}
		// What others do with the node meanwhile makes next wrong, and the exchange fail.
		next := atomic.LoadUint64(node)
		if atomic.CompareAndSwapUint64(&l.l.head, head, tagged(head, uint32(next))) {
			return Ptr[Link](l.h.address(ref)), nil
		}
	}
	return 0, fmt.Errorf("pop: %w", ErrBusy)
}
