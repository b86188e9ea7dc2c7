package arenamem

import (
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
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
// other pages [Arena.Format] and [Arena.Heap] fail with [ErrNotSupported].
type Heap struct {
	a *Arena
	s *super
	// What does not change, as it was when it was checked.
	start, limit uint64
	low          uint32 // lower half of the base
}

// MaxAlloc is the largest allocation, in bytes.
const MaxAlloc = 1<<31 - headerSize

const headerSize = 8

// States of a block.
const (
	blockFree = 1
	blockUsed = 2
)

// class is struct arena_class.
type class struct {
	head   atomic.Uint64 // reference, tag << 32
	used   atomic.Int64  // blocks in use
	carved atomic.Int64  // blocks that there are
	_      [5]uint64
}

// classOf returns the class of blocks of n bytes, the header included. There are
// two to each doubling: 16, 24, 32, 48, 64 bytes and so on.
func classOf(n uint64) uint32 {
	if n <= 16 {
		return 0
	}
	b := uint32(bits.Len64(n-1)) - 1
	if n-1 >= 3<<(b-1) {
		return 2*(b-4) + 2
	}
	return 2*(b-4) + 1
}

// classSize is the size of a class's blocks in bytes, with the header.
func classSize(c uint32) uint64 { return (16 + 8*uint64(c&1)) << (c / 2) }

// classes is how many there are: the last has blocks of 2 GiB.
const classes = 55

// header returns the upper half of a block's header: a checksum of its place << 16, its
// state << 8, its class. The lower half is the next free block's reference or the size asked for.
func header(ref, class uint32, state uint32) uint32 {
	check := ((ref>>3)*0x9e3779b1)>>16 ^ class*0x101 ^ 0x5a5a
	return check<<16 | state<<8 | class
}

// tagged returns the word after one with a tag: the tag counts on.
func tagged(word uint64, ref uint32) uint64 { return (word>>32+1)<<32 | uint64(ref) }

func (h *Heap) class(c uint32) *class {
	// SAFETY: the classes fill page 1, whose presence Heap has checked; see at for Close.
	return (*class)(h.a.known(pageSize + uint64(c)*uint64(unsafe.Sizeof(class{}))))
}

// maxTries bounds loops whose every turn means that somebody else got on.
const maxTries = 1 << 20

// Alloc returns size bytes, aligned to 8, which are not cleared. Errors: [ErrFull],
// [ErrTooLarge], [ErrBusy], [ErrAbsent].
func (h *Heap) Alloc(size uint64) (p Ptr[byte], err error) {
	defer h.catch("allocate", debug.SetPanicOnFault(true), &err)
	ref, err := h.alloc(size)
	if err != nil {
		return 0, fmt.Errorf("allocate %d bytes: %w", size, err)
	}
	return Ptr[byte](h.address(ref)), nil
}

// alloc returns a reference to size bytes.
func (h *Heap) alloc(size uint64) (uint32, error) {
	if h.a.size == 0 {
		return 0, h.a.pointerError(0, 0, 1)
	}
	if size > MaxAlloc {
		return 0, ErrTooLarge
	}
	c := classOf(size + headerSize)
	ref, err := h.pop(c)
	if err != nil {
		return 0, err
	}
	if ref == 0 {
		if ref, err = h.carve(classSize(c)); err != nil {
			return 0, err
		}
		h.class(c).carved.Add(1)
	}
	word := (*uint64)(h.at(ref, headerSize+size))
	if word == nil {
		return 0, fmt.Errorf("%w: a block of %d bytes at %#x", ErrCorrupt, size, h.address(ref))
	}
	atomic.StoreUint64(word, uint64(header(ref, c, blockUsed))<<32|size)
	h.class(c).used.Add(1)
	return ref + headerSize, nil
}

// pop takes a block from a free list: 0 when it is empty. The program's partner of the
// exchange is arena_pop.
func (h *Heap) pop(c uint32) (uint32, error) {
	list := h.class(c)
	for range maxTries {
		head := list.head.Load()
		ref := uint32(head)
		if ref == 0 {
			return 0, nil
		}
		word := h.word(ref)
		var now uint64
		if word != nil {
			now = atomic.LoadUint64(word)
		}
		if word != nil && uint32(now>>32) == header(ref, c, blockFree) {
			if list.head.CompareAndSwap(head, tagged(head, uint32(now))) {
				return ref, nil
			}
		} else if list.head.Load() == head {
			// Somebody wrote there. What is behind it is lost.
			if list.head.CompareAndSwap(head, tagged(head, 0)) {
				atomic.AddUint64(&h.s.corrupt, 1)
			}
			return 0, nil
		}
	}
	return 0, ErrBusy
}

// carve takes memory that was never allocated.
func (h *Heap) carve(size uint64) (uint32, error) {
	for range maxTries {
		brk := atomic.LoadUint64(&h.s.brk)
		if brk < h.start || brk > h.limit || brk%8 != 0 {
			return 0, fmt.Errorf("%w: the heap ends at %#x", ErrCorrupt, brk)
		}
		if size > h.limit-brk {
			return 0, ErrFull
		}
		if err := h.grow(brk + size); err != nil {
			return 0, err
		}
		if atomic.CompareAndSwapUint64(&h.s.brk, brk, brk+size) {
			return h.low + uint32(brk), nil
		}
	}
	return 0, ErrBusy
}

// growAhead is how much more memory than needed is made present, in bytes, so that
// programs that cannot do it themselves find some.
const growAhead = 64 << 10

// Grow makes the pages up to end bytes from the base present, and some more. Programs
// that may not sleep allocate only from pages that are: before Linux 7.0 they cannot
// make any. Errors: [ErrFull], [ErrAbsent].
func (h *Heap) Grow(end uint64) (err error) {
	defer h.catch("grow", debug.SetPanicOnFault(true), &err)
	return h.grow(end)
}

// grow is Grow within a guard.
func (h *Heap) grow(end uint64) error {
	if h.a.size == 0 {
		return h.a.pointerError(0, 0, 1)
	}
	present := atomic.LoadUint64(&h.s.present)
	if end <= present && present <= h.limit {
		return nil
	}
	if end > h.limit {
		return fmt.Errorf("grow to %d bytes: %w", end, ErrFull)
	}
	if present < h.start || present > h.limit || present%pageSize != 0 {
		return fmt.Errorf("%w: pages are there up to %#x", ErrCorrupt, present)
	}
	target := min((end+growAhead+pageSize-1)/pageSize*pageSize, h.limit)
	// Said first: whoever is killed now leaves pages that nobody knows to be there, and
	// arena_grow does not wait for them.
	maximum(&h.s.touched, target)
	if err := h.a.present(present, target-present); err != nil {
		return fmt.Errorf("grow to %d bytes: %w", end, err)
	}
	maximum(&h.s.present, target)
	return nil
}

// maximum stores v unless there is something larger.
func maximum(word *uint64, v uint64) {
	for range maxTries {
		now := atomic.LoadUint64(word)
		if now >= v || atomic.CompareAndSwapUint64(word, now, v) {
			return
		}
	}
}

// Free gives back what [Heap.Alloc], or arena_alloc, returned. What is not
// allocated is left alone: the error is [ErrNotAllocated]. After [ErrBusy] and [ErrAbsent] the
// block is lost.
func (h *Heap) Free(p Ptr[byte]) (err error) {
	defer h.catch("free", debug.SetPanicOnFault(true), &err)
	if off := h.a.offsetOf(uint64(p)); p == 0 || off >= h.a.size {
		return fmt.Errorf("free: %w", h.a.pointerError(uint64(p), 1, 1))
	}
	if err := h.free(uint32(p)); err != nil {
		return fmt.Errorf("free %#x: %w", uint64(p), err)
	}
	return nil
}

func (h *Heap) free(data uint32) error {
	ref := data - headerSize
	word := h.word(ref)
	if word == nil {
		return ErrNotAllocated
	}
	now := atomic.LoadUint64(word)
	c := uint32(now>>32) & 0xff
	if c >= classes || uint32(now>>32) != header(ref, c, blockUsed) {
		return ErrNotAllocated
	}
	free := uint64(header(ref, c, blockFree)) << 32
	if !atomic.CompareAndSwapUint64(word, now, free) {
		return ErrNotAllocated // somebody else freed it just now
	}
	list := h.class(c)
	list.used.Add(-1)
	for range maxTries {
		head := list.head.Load()
		atomic.StoreUint64(word, free|uint64(uint32(head)))
		// Its partner is the exchange in arena_pop, which then finds the next one's
		// reference in the header.
		if list.head.CompareAndSwap(head, tagged(head, ref)) {
			return nil
		}
	}
	return ErrBusy
}

// Requested returns how many bytes were asked for when p was allocated. The error is
// [ErrNotAllocated] where it is not, or [ErrAbsent].
func (h *Heap) Requested(p Ptr[byte]) (n uint64, err error) {
	defer h.catch("find block", debug.SetPanicOnFault(true), &err)
	off := h.a.offsetOf(uint64(p))
	if p == 0 || off >= h.a.size {
		return 0, h.a.pointerError(uint64(p), 1, 1)
	}
	ref := uint32(p) - headerSize
	word := h.word(ref)
	if word == nil {
		return 0, ErrNotAllocated
	}
	now := atomic.LoadUint64(word)
	c := uint32(now>>32) & 0xff
	if c >= classes || uint32(now>>32) != header(ref, c, blockUsed) || uint64(uint32(now)) > classSize(c)-headerSize {
		return 0, ErrNotAllocated
	}
	return uint64(uint32(now)), nil
}

// at returns the n bytes of a reference: nil where they do not lie in the heap, or the
// reference is no multiple of 8.
//
// SAFETY: the bytes lie in the mapping: size is 0 after Close, so nothing does.
func (h *Heap) at(ref uint32, n uint64) unsafe.Pointer {
	off := uint64(ref - h.low)
	if off%8 != 0 || off < h.start || off >= h.a.size || n > h.a.size-off {
		return nil
	}
	return unsafe.Add(h.a.mem, off)
}

// word returns the word of a reference, or nil.
func (h *Heap) word(ref uint32) *uint64 { return (*uint64)(h.at(ref, 8)) }

// address returns the user address of a reference.
func (h *Heap) address(ref uint32) uint64 { return h.a.base + uint64(ref-h.low) }

// Arena is what the heap lies in.
func (h *Heap) Arena() *Arena { return h.a }

// Class is how many blocks of one size there are.
type Class struct {
	Size   uint64 `json:"size"`   // bytes, without the header
	Used   int64  `json:"used"`   // blocks in use
	Carved int64  `json:"blocks"` // blocks that there are
}

// HeapStats are the state of a heap. Who was killed while allocating or freeing may
// have left a count wrong by one.
type HeapStats struct {
	Size    uint64  `json:"size"`    // bytes that it can have
	Carved  uint64  `json:"carved"`  // bytes that are blocks
	Present uint64  `json:"present"` // bytes in allocated pages
	Used    uint64  `json:"used"`    // bytes of blocks in use, with headers
	Corrupt uint64  `json:"corrupt"` // free lists that were given up because somebody had written over them
	Classes []Class `json:"classes"` // of which there are blocks
}

// Stats counts blocks. It is no snapshot: others change the heap meanwhile. The error is [ErrAbsent]
// or [os.ErrClosed].
func (h *Heap) Stats() (st HeapStats, err error) {
	if h.a.size == 0 {
		return st, h.a.pointerError(0, 0, 1)
	}
	defer h.catch("count blocks", debug.SetPanicOnFault(true), &err)
	st = HeapStats{
		Size:    h.limit - h.start,
		Carved:  atomic.LoadUint64(&h.s.brk) - h.start,
		Present: atomic.LoadUint64(&h.s.present) - h.start,
		Corrupt: atomic.LoadUint64(&h.s.corrupt),
	}
	for c := range uint32(classes) {
		list := h.class(c)
		n := Class{classSize(c) - headerSize, list.used.Load(), list.carved.Load()}
		if n.Carved != 0 || n.Used != 0 {
			st.Classes = append(st.Classes, n)
			st.Used += uint64(n.Used) * classSize(c)
		}
	}
	return st, nil
}

// New allocates a T and clears it.
func New[T any](h *Heap) (Ptr[T], *T, error) {
	var zero T
	p, err := h.Alloc(uint64(unsafe.Sizeof(zero)))
	if err != nil {
		return 0, nil, err
	}
	t, err := Ptr[T](p).In(h.a)
	if err != nil {
		return 0, nil, err
	}
	if err := h.a.Guard(func() error { *t = zero; return nil }); err != nil {
		return 0, nil, err
	}
	return Ptr[T](p), t, nil
}
