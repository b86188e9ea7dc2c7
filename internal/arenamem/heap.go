package arenamem

import (
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// Heap is the heap of an arena: package container documents it.
type Heap struct {
	Mem   *Memory
	Super *Super
	// Constant, as they were when they were checked.
	Start, Limit uint64 // of the heap, in bytes from the base
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

// Class is struct arena_class.
type Class struct {
	Head   atomic.Uint64 // reference, tag << 32
	Used   atomic.Int64  // blocks in use
	Carved atomic.Int64  // blocks that there are
	_      [5]uint64
}

// ClassOf returns the class of blocks of n bytes, the header included. There are
// two to each doubling: 16, 24, 32, 48, 64 bytes and so on.
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

// ClassSize is the size of a class's blocks in bytes, with the header.
func ClassSize(c uint32) uint64 { return (16 + 8*uint64(c&1)) << (c / 2) }

// Classes is how many there are: the last has blocks of 2 GiB.
const Classes = 55

// header returns the upper half of a block's header: a checksum of its place << 16, its
// state << 8, its class. The lower half is the next free block's reference or the size asked for.
func header(ref, class uint32, state uint32) uint32 {
	check := ((ref>>3)*0x9e3779b1)>>16 ^ class*0x101 ^ 0x5a5a
	return check<<16 | state<<8 | class
}

// Tagged returns the word after one with a tag: the tag counts on.
func Tagged(word uint64, ref uint32) uint64 { return (word>>32+1)<<32 | uint64(ref) }

func (h *Heap) Class(c uint32) *Class {
	// SAFETY: the classes fill page 1, whose presence Heap has checked; see at for Close.
	return (*Class)(h.Mem.known(PageSize + uint64(c)*uint64(unsafe.Sizeof(Class{}))))
}

// MaxTries bounds loops whose every turn means that somebody else got on.
const MaxTries = 1 << 20

// Alloc returns a reference to size bytes, aligned to 8.
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
		return 0, fmt.Errorf("%w: a block of %d bytes at %#x", ErrCorrupt, size, h.Address(ref))
	}
	atomic.StoreUint64(word, uint64(header(ref, c, blockUsed))<<32|size)
	h.Class(c).Used.Add(1)
	return ref + HeaderSize, nil
}

// pop takes a block from a free list: 0 when it is empty. The program's partner of the
// exchange is arena_pop.
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
		} else if list.Head.Load() == head {
			// Somebody wrote there. What is behind it is lost.
			if list.Head.CompareAndSwap(head, Tagged(head, 0)) {
				atomic.AddUint64(&h.Super.Corrupt, 1)
			}
			return 0, nil
		}
	}
	return 0, ErrContended
}

// carve takes memory that was never allocated.
func (h *Heap) carve(size uint64) (uint32, error) {
	for range MaxTries {
		brk := atomic.LoadUint64(&h.Super.Brk)
		if brk < h.Start || brk > h.Limit || brk%8 != 0 {
			return 0, fmt.Errorf("%w: the heap ends at %#x", ErrCorrupt, brk)
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

// GrowAhead is how much more memory than needed is made present, in bytes, so that
// programs that cannot do it themselves find some.
const GrowAhead = 64 << 10

// Grow makes the pages up to end bytes from the base present, and some more.
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
		return fmt.Errorf("%w: pages are there up to %#x", ErrCorrupt, present)
	}
	target := min((end+GrowAhead+PageSize-1)/PageSize*PageSize, h.Limit)
	// Said first: whoever is killed now leaves pages that nobody knows to be there, and
	// arena_grow does not wait for them.
	maximum(&h.Super.Touched, target)
	if err := h.Mem.Present(present, target-present); err != nil {
		return fmt.Errorf("grow to %d bytes: %w", end, err)
	}
	maximum(&h.Super.Present, target)
	return nil
}

// maximum stores v unless there is something larger.
func maximum(word *uint64, v uint64) {
	for range MaxTries {
		now := atomic.LoadUint64(word)
		if now >= v || atomic.CompareAndSwapUint64(word, now, v) {
			return
		}
	}
}

// Free gives back what Alloc, or arena_alloc, returned.
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
		return ErrNotAllocated // somebody else freed it just now
	}
	list := h.Class(c)
	list.Used.Add(-1)
	for range MaxTries {
		head := list.Head.Load()
		atomic.StoreUint64(word, free|uint64(uint32(head)))
		// Its partner is the exchange in arena_pop, which then finds the next one's
		// reference in the header.
		if list.Head.CompareAndSwap(head, Tagged(head, ref)) {
			return nil
		}
	}
	return ErrContended
}

// Requested returns how many bytes were asked for when addr was allocated. The error is
// [ErrNotAllocated] where it is not, or [ErrAbsent].
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

// at returns the n bytes of a reference: nil where they do not lie in the heap, or the
// reference is no multiple of 8.
//
// SAFETY: the bytes lie in the mapping: size is 0 after Close, so nothing does.
func (h *Heap) At(ref uint32, n uint64) unsafe.Pointer {
	off := uint64(ref - h.Low)
	if off%8 != 0 || off < h.Start || off >= h.Mem.Size || n > h.Mem.Size-off {
		return nil
	}
	return unsafe.Add(h.Mem.Addr, off)
}

// word returns the word of a reference, or nil.
func (h *Heap) Word(ref uint32) *uint64 { return (*uint64)(h.At(ref, 8)) }

// address returns the user address of a reference.
func (h *Heap) Address(ref uint32) uint64 { return h.Mem.Base + uint64(ref-h.Low) }

// ClassStats is how many blocks of one size there are.
type ClassStats struct {
	Size   uint64 `json:"size"`   // bytes, without the header
	Used   int64  `json:"used"`   // blocks in use
	Carved int64  `json:"blocks"` // blocks that there are
}

// HeapStats are the state of a heap. Who was killed while allocating or freeing may
// have left a count wrong by one.
type HeapStats struct {
	Size    uint64       `json:"size"`    // bytes that it can have
	Carved  uint64       `json:"carved"`  // bytes that are blocks
	Present uint64       `json:"present"` // bytes in allocated pages
	Used    uint64       `json:"used"`    // bytes of blocks in use, with headers
	Corrupt uint64       `json:"corrupt"` // free lists that were given up because somebody had written over them
	Classes []ClassStats `json:"classes"` // of which there are blocks
}

// Stats counts blocks. It is no snapshot: others change the heap meanwhile. The error is [ErrAbsent]
// or [os.ErrClosed].
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
