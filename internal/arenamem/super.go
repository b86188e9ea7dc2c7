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

// super is struct arena_super (bpf/headers/arena_heap.h), page 0 of an arena with a heap.
type super struct {
	magic     uint64
	version   uint32
	pageSize  uint32
	base      uint64
	size      uint64
	heapStart uint64
	heapLimit uint64
	reserved  uint64 // see reservation
	_         uint64
	brk       uint64 // blocks below it were allocated once
	_         [7]uint64
	present   uint64 // pages below it are allocated
	touched   uint64 // pages below it may be
	corrupt   uint64
	_         [5]uint64
	roots     [maxRoots]uint64 // references to root
}

// Identity of the layout.
const (
	magic   = 0x616e657261626272 // "rbbarena", little endian
	version = 1
)

// headPages are those before the heap: super and classes.
const headPages = 2

// Format gives the arena a heap, or opens the one that it has. The heap takes all pages but the first
// two and those at the end that hold variables of programs (see [LoadCollection]). Any number of
// processes may call Format at once, and a process killed during the call leaves the arena usable.
//
// Errors: [ErrFormat] if page 0 has other contents; [ErrFull] if fewer than three pages are left;
// [ErrNotSupported] if the kernel's pages are not of 4 KiB.
func (a *Arena) Format() (*Heap, error) {
	h, err := a.format()
	if err != nil {
		return nil, fmt.Errorf("format arena: %w", err)
	}
	return h, nil
}

func (a *Arena) format() (h *Heap, err error) {
	defer a.catch(debug.SetPanicOnFault(true), &err)
	if a.size == 0 {
		return nil, a.pointerError(0, 0, 1)
	}
	if err := checkPages(pageSize); err != nil {
		return nil, err
	}
	if a.size < (headPages+1)*pageSize {
		return nil, fmt.Errorf("%w: arena has %d bytes", ErrFull, a.size)
	}
	if err := a.present(0, headPages*pageSize); err != nil {
		return nil, err
	}
	s := (*super)(a.mem)
	if atomic.LoadUint64(&s.magic) == 0 {
		limit, err := a.endReservations(s)
		if err != nil {
			return nil, err
		}
		// Whoever does this at the same time writes the same, so that it does not matter
		// who is first, or killed: only what changes later is set but once.
		atomic.StoreUint32(&s.version, version)
		atomic.StoreUint32(&s.pageSize, uint32(pageSize))
		atomic.StoreUint64(&s.base, a.base)
		atomic.StoreUint64(&s.size, a.size)
		atomic.StoreUint64(&s.heapStart, headPages*pageSize)
		atomic.CompareAndSwapUint64(&s.heapLimit, 0, limit)
		atomic.CompareAndSwapUint64(&s.brk, 0, headPages*pageSize)
		atomic.CompareAndSwapUint64(&s.present, 0, headPages*pageSize)
		atomic.CompareAndSwapUint64(&s.magic, 0, magic)
	}
	return a.heap()
}

// Heap returns the heap that a process gave to the arena with [Arena.Format]. The
// error is [ErrFormat] if there is none or it is corrupt, and [ErrNotSupported] if the
// kernel's pages are not of 4 KiB.
func (a *Arena) Heap() (*Heap, error) {
	h, err := a.heap()
	if err != nil {
		return nil, fmt.Errorf("open heap: %w", err)
	}
	return h, nil
}

func (a *Arena) heap() (h *Heap, err error) {
	defer a.catch(debug.SetPanicOnFault(true), &err)
	if err := checkPages(pageSize); err != nil {
		return nil, err
	}
	if a.size < (headPages+1)*pageSize {
		if a.size == 0 {
			return nil, a.pointerError(0, 0, 1)
		}
		return nil, fmt.Errorf("%w: it has %d bytes", ErrFormat, a.size)
	}
	if err := a.touch(0, headPages); errors.Is(err, ErrAbsent) {
		return nil, fmt.Errorf("%w: page 0 is not allocated", ErrFormat)
	} else if err != nil {
		return nil, err
	}
	s := (*super)(a.mem)
	h = &Heap{a: a, s: s, start: s.heapStart, limit: s.heapLimit, low: uint32(a.base)}
	switch {
	case atomic.LoadUint64(&s.magic) != magic:
		return nil, fmt.Errorf("%w: page 0 has no heap's magic number", ErrFormat)
	case s.version != version:
		return nil, fmt.Errorf("%w: version %d, wanted %d", ErrFormat, s.version, version)
	case uint64(s.pageSize) != pageSize || s.base != a.base || s.size != a.size:
		return nil, fmt.Errorf("%w: made for %d bytes at %#x, the arena has %d at %#x", ErrFormat, s.size, s.base, a.size, a.base)
	case h.start != headPages*pageSize || h.limit > a.size || h.limit < h.start || h.limit%pageSize != 0:
		return nil, fmt.Errorf("%w: the heap lies from %#x to %#x", ErrFormat, h.start, h.limit)
	}
	return h, nil
}

// Formatted reports whether the arena has a heap's magic number, without allocating the page
// that it lies in, as [Arena.Heap] may.
func (a *Arena) Formatted() (bool, error) {
	word := make([]byte, 8)
	if err := a.Peek(Ptr[byte](a.base), word); err != nil {
		return false, err
	}
	return binary.NativeEndian.Uint64(word) == magic, nil
}

// Fresh reports whether there is nothing but zeros, or no page, where a heap begins: whether
// Format would take memory that others use cannot be told otherwise.
func (a *Arena) Fresh() (bool, error) {
	head := make([]byte, min((headPages+1)*pageSize, a.size))
	if err := a.Peek(Ptr[byte](a.base), head); err != nil {
		return false, err
	}
	if word := head[unsafe.Offsetof(super{}.reserved):][:8]; reservation(binary.NativeEndian.Uint64(word)).valid() {
		clear(word) // Format keeps the reserved pages
	}
	return len(bytes.TrimLeft(head, "\x00")) == 0, nil
}

// known returns an address in the first two pages.
//
// SAFETY: the caller has checked that the arena is open and its head present.
func (a *Arena) known(off uint64) unsafe.Pointer { return unsafe.Add(a.mem, off) }
