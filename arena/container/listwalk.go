package container

import (
	"fmt"
	"iter"
	"math/bits"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/order"
)

// All iterates over the nodes from the front. If a node is popped during the loop, All may yield wrong
// nodes, and ends with an error matching [ErrContended]. The error matches [ErrCorrupt] if a pointer leads
// out of the arena or the list is a cycle, and [arena.ErrAbsent] at an absent page. It is yielded last,
// with the pointer 0. Rely on the nodes only if the loop ends without an error.
//
// All reads up to 64 nodes before it yields the first of them.
func (l *List) All() iter.Seq2[arena.Ptr[Link], error] {
	return func(yield func(arena.Ptr[Link], error) bool) {
		var ahead [64]arena.Ptr[Link]
		w := walker{l: l}
		for w.begin(linkSize); w.next != 0; {
			for _, p := range ahead[:w.read(ahead[:])] {
				if !yield(p, nil) {
					return
				}
			}
		}
		if err := w.end(); err != nil {
			yield(0, err)
		}
	}
}

// Nodes iterates as [List.All] does, but yields Go pointers to the nodes in the arena and reads only one
// node ahead. The pointers are valid until the arena is closed. T begins with a [Link] and holds no Go
// pointers; this is not checked. The error matches [ErrCorrupt] at a node that is not wholly inside the
// arena. Use sync/atomic for fields that others write meanwhile.
//
// Nodes checks that a page is present when the walk enters it. If others may free pages during the loop,
// run the loop under [arena.Arena.Guard].
func Nodes[T any](l *List) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		w := walker{l: l}
		w.begin(uint64(unsafe.Sizeof(*new(T))))
		// Local copies stay in registers; fields of w would be loaded for each node.
		p, left, from, span, short := w.next, w.left, w.from, w.span, w.short
		origin := w.l.h.Mem.Origin()
		for ; p != 0; left-- {
			if short {
				p = from>>32<<32 | uint64(uint32(p))
			}
			// The rotation makes an offset that is not a multiple of 8 larger than span.
			if bits.RotateLeft64(p-from, -3) > span || left == 0 {
				if w.enter(p, left); w.err != nil {
					break
				}
				from, span = w.from, w.span
			}
			// SAFETY: the check above proves that the whole node at p is in the mapping.
			at := unsafe.Add(origin, p)
			next := *(*uint64)(at)
			if !yield((*T)(at), nil) {
				return
			}
			p = next
		}
		if err := w.end(); err != nil {
			yield(nil, err)
		}
	}
}

const linkSize = uint64(unsafe.Sizeof(Link{}))

// minNode is the smallest block, in bytes.
const minNode = 16

// walker reads the nodes of a list.
type walker struct {
	l    *List
	head uint64 // the list's head when the walk began
	size uint64 // size of a node, in bytes
	next uint64 // address of the next node, or 0 at the end
	left uint64 // nodes that may still follow: a longer list is a cycle
	// The pages of the last node entered, which are present: from is the address of the first, and span
	// the index of the last word at which a node that lies wholly in these pages can begin.
	from, span uint64
	short      bool // pointers are stored without the upper half
	err        error
}

// begin starts a walk over nodes of size bytes, and checks the first node as enter does.
func (w *walker) begin(size uint64) {
	h := w.l.h
	if h.Mem.Size == 0 {
		w.err = arenamem.ErrClosed
		return
	}
	defer h.Catch("walk list", debug.SetPanicOnFault(true), &w.err)
	w.head, w.size = atomic.LoadUint64(&w.l.l.head), size
	first := uint32(w.head)
	if first == 0 {
		return
	}
	if size < linkSize || size > h.Mem.Size {
		w.err = h.Mem.PointerError(h.Address(first), size, linkSize)
		return
	}
	w.left, w.short = (h.Limit-h.Start)/minNode, h.Mem.NoUserConv()
	if w.enter(h.Address(first), w.left); w.err == nil {
		w.next = h.Address(first)
	}
}

// enter checks that the node at p lies in the arena and that its pages are present, and sets from and
// span to these pages.
func (w *walker) enter(p, left uint64) {
	m := w.l.h.Mem
	defer w.l.h.Catch("walk list", debug.SetPanicOnFault(true), &w.err)
	off := p - m.Base
	if off > m.Size-w.size || off%8 != 0 || left == 0 {
		w.err = w.l.wrong(w.head, p, left)
		return
	}
	first, end := off/arenamem.PageSize, (off+w.size+arenamem.PageSize-1)/arenamem.PageSize
	for page := first; page < end; page++ {
		// SAFETY: the check above proves that the page is in the mapping.
		atomic.LoadUint64((*uint64)(unsafe.Add(m.Addr, page*arenamem.PageSize)))
	}
	w.from, w.span = m.Base+first*arenamem.PageSize, ((end-first)*arenamem.PageSize-w.size)/8
}

// read fills nodes with the addresses of the next nodes, and returns their number.
func (w *walker) read(nodes []arena.Ptr[Link]) (n int) {
	defer w.l.h.Catch("walk list", debug.SetPanicOnFault(true), &w.err)
	p, origin := w.next, w.l.h.Mem.Origin()
	w.next = 0 // if enter fails, the walk ends
	for ; n < len(nodes) && p != 0; n++ {
		if w.short {
			p = w.from>>32<<32 | uint64(uint32(p))
		}
		if bits.RotateLeft64(p-w.from, -3) > w.span || w.left == 0 {
			if w.enter(p, w.left); w.err != nil {
				return n
			}
		}
		// SAFETY: the check above proves that the whole node at p is in the mapping.
		next := *(*uint64)(unsafe.Add(origin, p))
		nodes[n] = arena.Ptr[Link](p)
		w.left--
		p = next
	}
	w.next = p
	return n
}

// end returns the error of the walk, or ErrContended if nodes were popped during it.
func (w *walker) end() (err error) {
	if w.err != nil || w.size == 0 {
		return w.err
	}
	defer w.l.h.Catch("walk list", debug.SetPanicOnFault(true), &err)
	if w.l.popped(w.head) {
		return fmt.Errorf("walk list: %w: nodes were popped", ErrContended)
	}
	return nil
}

// popped reports whether nodes were popped since the list's head was loaded as head. If not, the nodes
// loaded in between were in the list. Partner: the compare-and-swap of Pop, or of arena_list_pop (litmus
// list-walk).
func (l *List) popped(head uint64) bool {
	order.LoadFence()
	return atomic.LoadUint64(&l.l.head)>>32 != head>>32
}

// wrong explains why a walk that started at head cannot continue at p.
func (l *List) wrong(head, p, left uint64) error {
	switch {
	case l.popped(head):
		return fmt.Errorf("walk list: %w: nodes were popped", ErrContended)
	case left == 0:
		return fmt.Errorf("walk list: %w: the list is a cycle", ErrCorrupt)
	}
	return fmt.Errorf("walk list: %w: a node points to %#x, where no node can be", ErrCorrupt, p)
}
