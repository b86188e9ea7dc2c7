package arena

import (
	"fmt"
	"iter"
	"math/bits"
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
// list. Errors: [ErrPointer], [ErrBusy].
func (l *List) Push(p Ptr[Link]) error {
	node, err := p.In(l.h.a)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
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
// does not lead into the heap.
func (l *List) Pop() (Ptr[Link], error) {
	if l.h.a.size == 0 {
		return 0, l.h.a.pointerError(0, 0, 1)
	}
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

// All walks over the nodes from the front. It is right when nothing is popped
// meanwhile; after a pop it may go astray, and ends with [ErrBusy]. It
// ends with [ErrCorrupt] where a pointer leads out of the heap, and in a circle
// after as many steps as there can be nodes.
func (l *List) All() iter.Seq2[Ptr[Link], error] {
	return func(yield func(Ptr[Link], error) bool) {
		for n, err := range Nodes[Link](l) {
			if !yield(Ptr[Link](uintptr(unsafe.Pointer(n))), err) { // they lie at the address that programs use
				return
			}
		}
	}
}

// Nodes walks as [List.All] does, and yields what lies in the arena, without copying: T begins
// with a [Link] and holds no Go pointers. A node that is not wholly inside the arena is
// [ErrCorrupt]. What others change at the same time is to be loaded with sync/atomic.
func Nodes[T any](l *List) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		a := l.h.a
		if a.size == 0 {
			yield(nil, a.pointerError(0, 0, 1))
			return
		}
		head := atomic.LoadUint64(&l.l.head)
		first := uint32(head)
		if first == 0 {
			return
		}
		p := l.h.address(first)
		size := uint64(unsafe.Sizeof(*new(T)))
		if size < linkSize || size > a.size {
			yield(nil, a.pointerError(p, size, linkSize))
			return
		}
		last := (a.size - size) / 8 // word of the arena at which a node can begin
		base, low := a.base, a.flags&flagNoUserConv != 0
		for left := (l.h.limit - l.h.start) / minNode; p != 0; left-- {
			off := p - base
			if low {
				off = uint64(uint32(off)) // as in offsetOf
				p = base + off
			}
			// Rotated, an offset that is no multiple of 8 is larger than all others.
			if bits.RotateLeft64(off, -3) > last || left == 0 {
				yield(nil, l.wrong(head, p, left))
				return
			}
			// SAFETY: a whole node in the mapping, which lies at the address that it has for
			// programs, as was just checked. Without a base to add to, the next load does not
			// wait for an addition: a third of the time.
			at := unsafe.Add(nil, p)
			next := *(*uint64)(at)
			if !yield((*T)(at), nil) {
				return
			}
			p = next
		}
		if atomic.LoadUint64(&l.l.head)>>32 != head>>32 {
			yield(nil, fmt.Errorf("walk list: %w: nodes were popped", ErrBusy))
		}
	}
}

const linkSize = uint64(unsafe.Sizeof(Link{}))

// minNode is the smallest block, in bytes.
const minNode = 16

// wrong says why a walk that began with this head did not get on at p.
func (l *List) wrong(head, p, left uint64) error {
	switch {
	case atomic.LoadUint64(&l.l.head)>>32 != head>>32:
		return fmt.Errorf("walk list: %w: nodes were popped", ErrBusy)
	case left == 0:
		return fmt.Errorf("walk list: %w: it goes in a circle", ErrCorrupt)
	}
	return fmt.Errorf("walk list: %w: a node leads to %#x", ErrCorrupt, p)
}
