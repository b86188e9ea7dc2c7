package arenamem

import (
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// Heap is the heap of an arena, described at container.Heap.
type Heap struct {
	Mem   *Memory
	Super *Super
	// Copies of constants of the arena, which OpenHeap has checked.
	Start, Limit uint64 // where the heap begins and ends, in bytes from the arena's base
	Low          uint32 // lower half of the base
}

// HeaderSize is the size of the header before each block, in bytes.
const HeaderSize = 8

// MaxAlloc is the largest allocation, in bytes.
const MaxAlloc = 1<<31 - HeaderSize

// States of a block.
const (
	blockFree = 1
	blockUsed = 2
)

// Class mirrors struct arena_class: the free list and the counts of one block size.
type Class struct {
	Head   atomic.Uint64 // reference to the first free block | tag << 32
	Used   atomic.Int64  // number of allocated blocks
	Carved atomic.Int64  // number of allocated and free blocks
	_      [5]uint64
}

// ClassOf returns the smallest class whose blocks have n bytes or more, with the header. Each power of
// two has two classes: 16 and 24, 32 and 48, 64 and 96 bytes and so on.
func ClassOf(n uint64) uint32 {
	if n <= 16 {
		return 0
	}
	b := uint32(bits.Len64(n-1)) - 1
	if n-1 >= 3<<(b-1) {
		return 2*(b-4) + 2
	}
	return 2*(b-4) + 1
}

// ClassSize returns the size of a class's blocks in bytes, with the header.
func ClassSize(c uint32) uint64 { return (16 + 8*uint64(c&1)) << (c / 2) }

// Classes is the number of classes. The last has blocks of 2 GiB.
const Classes = 55

// header returns the upper half of a block's header: checksum of reference and class << 16 | state << 8
// | class. The lower half is the reference of the next free block, or in a used block the requested size.
func header(ref, class uint32, state uint32) uint32 {
	check := ((ref>>3)*0x9e3779b1)>>16 ^ class*0x101 ^ 0x5a5a
	return check<<16 | state<<8 | class
}

// Tagged returns ref with the next tag after that of word.
func Tagged(word uint64, ref uint32) uint64 { return (word>>32+1)<<32 | uint64(ref) }

// Class returns the class with the number c, which must be less than Classes.
func (h *Heap) Class(c uint32) *Class {
	// SAFETY: the classes lie below HeadSize, in pages that OpenHeap has found present; callers check Size.
	return (*Class)(h.Mem.known(classesOffset + uint64(c)*uint64(unsafe.Sizeof(Class{}))))
}

// MaxTries bounds loops that repeat a compare-and-swap. It fails only if another change succeeded.
const MaxTries = 1 << 20

// Alloc allocates size bytes, aligned to 8, and returns a reference to them.
func (h *Heap) Alloc(size uint64) (uint32, error) {
	if h.Mem.Size == 0 {
		return 0, ErrClosed
	}
	if size > MaxAlloc {
		return 0, ErrTooLarge
	}
	c := ClassOf(size + HeaderSize)
	ref, err := h.pop(c)
	if err != nil {
		return 0, err
	}
	if ref == 0 {
		if ref, err = h.carve(ClassSize(c)); err != nil {
			return 0, err
		}
		h.Class(c).Carved.Add(1)
	}
	word := (*uint64)(h.At(ref, HeaderSize+size))
	if word == nil {
		return 0, fmt.Errorf("%w: block of %d bytes at %#x is not in the heap", ErrCorrupt, size, h.Address(ref))
	}
	atomic.StoreUint64(word, uint64(header(ref, c, blockUsed))<<32|size)
	h.Class(c).Used.Add(1)
	return ref + HeaderSize, nil
}

// pop takes the first block from a free list and returns its reference, or 0 if the list is empty.
// Programs do the same in arena_pop.
//
// The compare-and-swap proves the load of the header: if others popped and reused the block before that
// load, the list's tag has changed (litmus heap-pop).
func (h *Heap) pop(c uint32) (uint32, error) {
	list := h.Class(c)
	for range MaxTries {
		head := list.Head.Load()
		ref := uint32(head)
		if ref == 0 {
			return 0, nil
		}
		word := h.Word(ref)
		var now uint64
		if word != nil {
			now = atomic.LoadUint64(word)
		}
		if word != nil && uint32(now>>32) == header(ref, c, blockFree) {
			if list.Head.CompareAndSwap(head, Tagged(head, uint32(now))) {
				return ref, nil
			}
		} else if list.Head.CompareAndSwap(head, Tagged(head, 0)) {
			// The block's header was overwritten: empty the list. Its blocks are lost.
			atomic.AddUint64(&h.Super.Corrupt, 1)
			return 0, nil
		}
	}
	return 0, ErrContended
}

// carve makes a block of size bytes from memory that was never allocated and returns its reference.
func (h *Heap) carve(size uint64) (uint32, error) {
	for range MaxTries {
		brk := atomic.LoadUint64(&h.Super.Brk)
		if brk < h.Start || brk > h.Limit || brk%8 != 0 {
			return 0, fmt.Errorf("%w: allocated memory ends at offset %#x, not in the heap", ErrCorrupt, brk)
		}
		if size > h.Limit-brk {
			return 0, ErrFull
		}
		if err := h.Grow(brk + size); err != nil {
			return 0, err
		}
		if atomic.CompareAndSwapUint64(&h.Super.Brk, brk, brk+size) {
			return h.Low + uint32(brk), nil
		}
	}
	return 0, ErrContended
}

// GrowAhead is the number of bytes that Grow allocates beyond the requested end, for programs that cannot
// allocate pages themselves.
const GrowAhead = 64 << 10

// Grow allocates the pages up to the offset end from the arena's base, and GrowAhead bytes more.
func (h *Heap) Grow(end uint64) error {
	if h.Mem.Size == 0 {
		return ErrClosed
	}
	present := atomic.LoadUint64(&h.Super.Present)
	if end <= present && present <= h.Limit {
		return nil
	}
	if end > h.Limit {
		return fmt.Errorf("grow to %d bytes: %w", end, ErrFull)
	}
	if present < h.Start || present > h.Limit || present%PageSize != 0 {
		return fmt.Errorf("%w: allocated pages end at offset %#x, not at a page of the heap", ErrCorrupt, present)
	}
	target := min((end+GrowAhead+PageSize-1)/PageSize*PageSize, h.Limit)
	// Raise Touched first. If this process is killed after it allocated the pages and before it raises
	// Present, arena_grow, which cannot allocate a page twice, skips them.
	maximum(&h.Super.Touched, target)
	if err := h.Mem.Present(present, target-present); err != nil {
		return fmt.Errorf("grow to %d bytes: %w", end, err)
	}
	maximum(&h.Super.Present, target)
	return nil
}

// maximum raises word to v if it is less.
func maximum(word *uint64, v uint64) {
	for range MaxTries {
		now := atomic.LoadUint64(word)
		if now >= v || atomic.CompareAndSwapUint64(word, now, v) {
			return
		}
	}
}

// Free frees a block by the reference that Alloc returned.
func (h *Heap) Free(data uint32) error {
	ref := data - HeaderSize
	word := h.Word(ref)
	if word == nil {
		return ErrNotAllocated
	}
	now := atomic.LoadUint64(word)
	c := uint32(now>>32) & 0xff
	if c >= Classes || uint32(now>>32) != header(ref, c, blockUsed) {
		return ErrNotAllocated
	}
	free := uint64(header(ref, c, blockFree)) << 32
	if !atomic.CompareAndSwapUint64(word, now, free) {
		return ErrNotAllocated // freed meanwhile
	}
	list := h.Class(c)
	list.Used.Add(-1)
	for range MaxTries {
		head := list.Head.Load()
		atomic.StoreUint64(word, free|uint64(uint32(head)))
		// The swap publishes the reference in the header that was just stored. Its partner is the load
		// of the list's head in pop, or in arena_pop (litmus heap-push).
		if list.Head.CompareAndSwap(head, Tagged(head, ref)) {
			return nil
		}
	}
	return ErrContended
}

// Requested returns the size, in bytes, that was requested for the block at addr. The error matches
// ErrNotAllocated, ErrPointer or ErrAbsent.
func (h *Heap) Requested(addr uint64) (n uint64, err error) {
	defer h.Catch("find block", debug.SetPanicOnFault(true), &err)
	off := h.Mem.Offset(addr)
	if addr == 0 || off >= h.Mem.Size {
		return 0, h.Mem.PointerError(addr, 1, 1)
	}
	ref := uint32(addr) - HeaderSize
	word := h.Word(ref)
	if word == nil {
		return 0, ErrNotAllocated
	}
	now := atomic.LoadUint64(word)
	c := uint32(now>>32) & 0xff
	if c >= Classes || uint32(now>>32) != header(ref, c, blockUsed) || uint64(uint32(now)) > ClassSize(c)-HeaderSize {
		return 0, ErrNotAllocated
	}
	return uint64(uint32(now)), nil
}

// At returns a pointer to the n bytes at a reference, or nil if they are not in the heap or the reference
// is not a multiple of 8.
//
// SAFETY: the check proves that the bytes are in the mapping. After Close, Size is 0 and every check
// fails.
func (h *Heap) At(ref uint32, n uint64) unsafe.Pointer {
	off := uint64(ref - h.Low)
	if off%8 != 0 || off < h.Start || off >= h.Mem.Size || n > h.Mem.Size-off {
		return nil
	}
	return unsafe.Add(h.Mem.Addr, off)
}

// Word returns a pointer to the word at a reference, or nil as [Heap.At] does.
func (h *Heap) Word(ref uint32) *uint64 { return (*uint64)(h.At(ref, 8)) }

// Address returns the user address of a reference.
func (h *Heap) Address(ref uint32) uint64 { return h.Mem.Base + uint64(ref-h.Low) }

// ClassStats counts the blocks of one class.
type ClassStats struct {
	Size   uint64 `json:"size"`   // size of a block in bytes, without the header
	Used   int64  `json:"used"`   // number of allocated blocks
	Carved int64  `json:"blocks"` // number of allocated and free blocks
}

// HeapStats is the state of a heap. For each process killed while allocating or freeing, a count may be
// wrong by one.
type HeapStats struct {
	Size    uint64       `json:"size"`    // maximum size of the heap, in bytes
	Carved  uint64       `json:"carved"`  // bytes in allocated and free blocks, with headers
	Present uint64       `json:"present"` // bytes in allocated pages
	Used    uint64       `json:"used"`    // bytes in allocated blocks, with headers
	Corrupt uint64       `json:"corrupt"` // number of corrupt free lists that were emptied
	Classes []ClassStats `json:"classes"` // the classes that have blocks
}

// Stats counts blocks. If others change the heap meanwhile, the counts may contradict each other. The
// error matches ErrAbsent or ErrClosed.
func (h *Heap) Stats() (st HeapStats, err error) {
	if h.Mem.Size == 0 {
		return st, ErrClosed
	}
	defer h.Catch("count blocks", debug.SetPanicOnFault(true), &err)
	st = HeapStats{
		Size:    h.Limit - h.Start,
		Carved:  atomic.LoadUint64(&h.Super.Brk) - h.Start,
		Present: atomic.LoadUint64(&h.Super.Present) - h.Start,
		Corrupt: atomic.LoadUint64(&h.Super.Corrupt),
	}
	for c := range uint32(Classes) {
		list := h.Class(c)
		n := ClassStats{ClassSize(c) - HeaderSize, list.Used.Load(), list.Carved.Load()}
		if n.Carved != 0 || n.Used != 0 {
			st.Classes = append(st.Classes, n)
			st.Used += uint64(n.Used) * ClassSize(c)
		}
	}
	return st, nil
}
