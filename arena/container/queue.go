package container

import (
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
)

// queue mirrors struct arena_queue. The slots follow it.
type queue struct {
	head atomic.Uint64 // number of the next element to take
	_    [7]uint64
	tail atomic.Uint64 // number of the next element to put
	_    [7]uint64
	bits uint32 // log2 of the number of slots
	_    uint32
}

// Queue is a bounded first-in, first-out queue of pointers into a heap. Programs use
// bpf/headers/arena_queue.h. The queue does not access what the pointers point to. By convention, Put
// passes the ownership of a block to the caller of Take.
//
// A slot is one word: a lap, and the reference of an element, or 0 if the slot is empty. The lap counts
// rounds over the slots: it is the round in which the element was put, or in which an empty slot is
// filled next. An operation changes the slot with one compare-and-swap, and then advances the tail or the
// head. If its process is killed in between, the next operation advances the tail or the head instead. No
// operation waits for another, and a killed process loses at most the element that it had taken or had
// not put yet.
//
// The compare-and-swap of Put publishes what was written into the element, and that of Take acquires it
// (litmus queue).
//
// Any number of goroutines, processes and programs may put and take at once.
type Queue struct {
	h     *arenamem.Heap
	q     *queue
	slots []atomic.Uint64
	bits  uint32
	p     arena.Ptr[byte]
}

// maxQueue is the largest capacity of a queue, in elements.
const maxQueue = 1 << 24

// NewQueue creates an empty queue with a name, as [Heap.AddRoot] does, for at most n elements. n is a
// power of two from 2 to 1<<24. Errors are those of [Heap.Alloc] and Heap.AddRoot, and [ErrTooLarge] for
// another n.
func NewQueue(h *Heap, name string, n int) (*Queue, error) {
	if n < 2 || n > maxQueue || n&(n-1) != 0 {
		return nil, fmt.Errorf("create queue %q: capacity %d is not a power of two from 2 to %d: %w", name, n, maxQueue, ErrTooLarge)
	}
	size := uint64(unsafe.Sizeof(queue{})) + 8*uint64(n)
	p, err := h.Alloc(size)
	if err != nil {
		return nil, fmt.Errorf("create queue %q: %w", name, err)
	}
	b, err := h.a.Bytes(p, size)
	if err != nil {
		return nil, err
	}
	err = h.a.Guard(func() error {
		clear(b)
		// SAFETY: b has the size of a queue and its slots.
		(*queue)(unsafe.Pointer(unsafe.SliceData(b))).bits = uint32(bits.TrailingZeros(uint(n)))
		return nil
	})
	if err == nil {
		_, err = h.AddRoot(name, KindQueue, p)
	}
	if err != nil {
		h.Free(p)
		return nil, fmt.Errorf("create queue %q: %w", name, err)
	}
	return OpenQueue(h, name)
}

// OpenQueue opens a queue by its name. Errors are those of [Heap.Root], and [ErrCorrupt].
func OpenQueue(h *Heap, name string) (_ *Queue, err error) {
	defer h.h.Catch("open queue", debug.SetPanicOnFault(true), &err)
	r, err := h.Root(name, KindQueue)
	if err != nil {
		return nil, fmt.Errorf("open queue %q: %w", name, err)
	}
	// SAFETY: At returns nil unless the whole queue lies in the mapping.
	q := (*queue)(h.h.At(uint32(r.Ptr), uint64(unsafe.Sizeof(queue{}))))
	if q == nil {
		return nil, fmt.Errorf("open queue %q: %w: its address %#x is not in the heap", name, ErrCorrupt, uint64(r.Ptr))
	}
	n := q.bits
	if n > 24 || h.h.At(uint32(r.Ptr), uint64(unsafe.Sizeof(queue{}))+8<<n) == nil {
		return nil, fmt.Errorf("open queue %q: %w: its 2^%d slots are not all in the heap", name, ErrCorrupt, n)
	}
	// SAFETY: the check above proves that the slots are in the mapping.
	slots := unsafe.Slice((*atomic.Uint64)(unsafe.Add(unsafe.Pointer(q), unsafe.Sizeof(*q))), 1<<n)
	return &Queue{h.h, q, slots, n, r.Ptr}, nil
}

// Put adds p, a pointer into the heap, at the end. It does not wait. Errors: [ErrFull] if the queue is
// full; [arena.ErrPointer] if p does not point into the heap; [ErrContended]; [arena.ErrAbsent].
func (q *Queue) Put(p arena.Ptr[byte]) (err error) {
	if q.h.Mem.Size == 0 || q.h.At(uint32(p)&^7, 8) == nil {
		return fmt.Errorf("put: %w", q.h.Mem.PointerError(uint64(p), 8, 1))
	}
	defer q.h.Catch("put", debug.SetPanicOnFault(true), &err)
	for range arenamem.MaxTries {
		tail := q.q.tail.Load()
		lap := uint32(tail >> q.bits)
		at := &q.slots[tail&uint64(len(q.slots)-1)]
		slot := at.Load()
		switch {
		case slot == uint64(lap)<<32:
			if at.CompareAndSwap(slot, slot|uint64(uint32(p))) {
				q.q.tail.CompareAndSwap(tail, tail+1)
				return nil
			}
		case uint32(slot>>32) == lap-1:
			if q.q.tail.Load() == tail {
				return ErrFull // the slot still holds the element of the previous lap
			}
		default:
			// Another process filled the slot and has not advanced the tail yet, or was killed before.
			q.q.tail.CompareAndSwap(tail, tail+1)
		}
	}
	return fmt.Errorf("put: %w", ErrContended)
}

// Take removes the pointer at the front and returns it. It does not wait. Errors: [ErrEmpty];
// [ErrContended]; [arena.ErrAbsent]; [ErrCorrupt] if the pointer does not point into the heap.
func (q *Queue) Take() (p arena.Ptr[byte], err error) {
	if q.h.Mem.Size == 0 {
		return 0, arenamem.ErrClosed
	}
	defer q.h.Catch("take", debug.SetPanicOnFault(true), &err)
	for range arenamem.MaxTries {
		head := q.q.head.Load()
		lap := uint32(head >> q.bits)
		at := &q.slots[head&uint64(len(q.slots)-1)]
		slot := at.Load()
		switch {
		case slot == uint64(lap)<<32:
			return 0, ErrEmpty
		case uint32(slot>>32) == lap:
			if !at.CompareAndSwap(slot, uint64(lap+1)<<32) {
				continue
			}
			q.q.head.CompareAndSwap(head, head+1)
			ref := uint32(slot)
			if q.h.At(ref&^7, 8) == nil {
				return 0, fmt.Errorf("take: %w: the element points to %#x, not into the heap", ErrCorrupt, q.h.Address(ref))
			}
			return arena.Ptr[byte](q.h.Address(ref)), nil
		default:
			// Another process emptied the slot and has not advanced the head yet, or was killed before.
			q.q.head.CompareAndSwap(head, head+1)
		}
	}
	return 0, fmt.Errorf("take: %w", ErrContended)
}
