package arenamem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// Super mirrors struct arena_super (bpf/headers/arena_heap.h): the start of an arena with a heap.
// Offsets are in bytes from the arena's base.
type Super struct {
	Magic     uint64
	Version   uint32
	PageSize  uint32 // of the kernel on which the heap was made, in bytes
	Base      uint64
	Size      uint64
	HeapStart uint64
	HeapLimit uint64
	Reserved  uint64 // see reservation
	_         uint64
	Brk       uint64 // offset from which memory up to HeapLimit was never allocated
	_         [7]uint64
	Present   uint64 // offset below which all pages are allocated
	Touched   uint64 // offset below which pages may be allocated: raised before pages are touched
	Corrupt   uint64 // number of free lists that were emptied because a block was overwritten or absent
	_         [5]uint64
	Roots     [MaxRoots]uint64 // references to struct arena_root, 0 if free
}

// super returns page 0.
//
// SAFETY: an arena has at least one page, and a Super fits into a page. The caller has checked that the
// arena is open.
func (m *Memory) super() *Super { return (*Super)(m.Addr) }

// Magic number and version of a superblock with this layout.
const (
	magic   = 0x616e657261626272 // "rbbarena", little endian
	version = 1
)

// MaxRoots is the maximum number of roots.
const MaxRoots = 32

// classesOffset is ARENA_CLASSES of bpf/headers/arena_heap.h: the offset of the classes, in bytes. It does
// not depend on the page size, so that programs need not either.
const classesOffset = 4096

// HeadSize is the size in bytes of what lies before the blocks: the pages with the superblock and the
// classes. MinSize is the size of the smallest arena that can have a heap.
var (
	HeadSize = headSize(PageSize)
	MinSize  = HeadSize + PageSize
)

func headSize(page uint64) uint64 {
	const used = classesOffset + Classes*uint64(unsafe.Sizeof(Class{}))
	return (used + page - 1) / page * page
}

// Format creates a heap, or opens the existing one: see container.Format.
func (m *Memory) Format() (h *Heap, err error) {
	defer m.Catch(debug.SetPanicOnFault(true), &err)
	if m.Size == 0 {
		return nil, ErrClosed
	}
	if m.Size < MinSize {
		return nil, fmt.Errorf("%w: a heap needs %d bytes, the arena has %d", ErrFull, MinSize, m.Size)
	}
	if err := m.Present(0, HeadSize); err != nil {
		return nil, err
	}
	s := m.super()
	if atomic.LoadUint64(&s.Magic) == 0 {
		limit, err := m.endReservations(s)
		if err != nil {
			return nil, err
		}
		// Concurrent calls store the same values, so their order does not matter, nor whether one of
		// them is killed. Fields that change later are set by compare-and-swap, so only once.
		atomic.StoreUint32(&s.Version, version)
		atomic.StoreUint32(&s.PageSize, uint32(PageSize))
		atomic.StoreUint64(&s.Base, m.Base)
		atomic.StoreUint64(&s.Size, m.Size)
		atomic.StoreUint64(&s.HeapStart, HeadSize)
		atomic.CompareAndSwapUint64(&s.HeapLimit, 0, limit)
		atomic.CompareAndSwapUint64(&s.Brk, 0, HeadSize)
		atomic.CompareAndSwapUint64(&s.Present, 0, HeadSize)
		atomic.CompareAndSwapUint64(&s.Magic, 0, magic)
	}
	return m.OpenHeap()
}

// OpenHeap opens the heap that [Memory.Format] created.
func (m *Memory) OpenHeap() (h *Heap, err error) {
	defer m.Catch(debug.SetPanicOnFault(true), &err)
	if m.Size == 0 {
		return nil, ErrClosed
	}
	pages := min(HeadSize, m.Size) / PageSize
	if err := m.Touch(0, pages); errors.Is(err, ErrAbsent) {
		return nil, fmt.Errorf("%w: page 0 is not allocated", ErrFormat)
	} else if err != nil {
		return nil, err
	}
	s := m.super()
	// Load the magic number first: the other constants are there when it is (litmus heap-format).
	if atomic.LoadUint64(&s.Magic) != magic {
		return nil, fmt.Errorf("%w: page 0 does not begin with the magic number of a heap", ErrFormat)
	}
	h = &Heap{Mem: m, Super: s, Start: s.HeapStart, Limit: s.HeapLimit, Low: uint32(m.Base)}
	if err := h.check(PageSize); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return h, nil
}

// check returns why the superblock is not that of a heap in this arena, on a kernel with this page size.
func (h *Heap) check(page uint64) error {
	s, m := h.Super, h.Mem
	head := headSize(page)
	switch {
	case s.Version != version:
		return fmt.Errorf("heap has version %d, want %d", s.Version, version)
	case uint64(s.PageSize) != page:
		return fmt.Errorf("heap was made for pages of %d bytes, this kernel has pages of %d", s.PageSize, page)
	case m.Size < head+page:
		return fmt.Errorf("a heap needs %d bytes, the arena has %d", head+page, m.Size)
	case s.Base != m.Base || s.Size != m.Size:
		return fmt.Errorf("heap was made for %d bytes at %#x, the arena has %d at %#x", s.Size, s.Base, m.Size, m.Base)
	case h.Start != head || h.Limit > m.Size || h.Limit < h.Start || h.Limit%page != 0:
		return fmt.Errorf("heap from offset %#x to %#x does not fit the arena", h.Start, h.Limit)
	}
	return nil
}

// Formatted reports whether page 0 begins with the magic number of a heap. Unlike OpenHeap, it allocates
// no page.
func (m *Memory) Formatted() (bool, error) {
	word := make([]byte, 8)
	if err := m.Peek(m.Base, word); err != nil {
		return false, err
	}
	return binary.NativeEndian.Uint64(word) == magic, nil
}

// Fresh reports whether the pages that Format would write to are absent or all zeros, apart from a
// reservation. If so, Format overwrites no data of others.
func (m *Memory) Fresh() (bool, error) {
	head := make([]byte, min(MinSize, m.Size))
	if err := m.Peek(m.Base, head); err != nil {
		return false, err
	}
	if word := head[unsafe.Offsetof(Super{}.Reserved):][:8]; reservation(binary.NativeEndian.Uint64(word)).valid() {
		clear(word) // a valid reservation is not foreign data: Format keeps it
	}
	return len(bytes.TrimLeft(head, "\x00")) == 0, nil
}

// known returns a pointer to the byte at offset off in the head of the heap.
//
// SAFETY: off is below HeadSize, and the caller has checked that the arena is open.
func (m *Memory) known(off uint64) unsafe.Pointer { return unsafe.Add(m.Addr, off) }
