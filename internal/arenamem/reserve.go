package arenamem

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// reservation records how many pages at the end of an arena hold variables of programs. The record is in
// page 0, where all processes see it. A heap that is created later ends before these pages. Creating a
// heap ends reservations: from then on, memory for variables comes from the heap.
//
//	bits 0-30   number of pages
//	bit 31      set if reservations have ended
//	bits 32-63  reservationMark
type reservation uint64

const (
	reservationMark  reservation = 0x64767372 << 32 // "rsvd", little endian
	reservationEnded reservation = 1 << 31
	reservationPages             = reservationEnded - 1
)

func (r reservation) valid() bool { return r>>32<<32 == reservationMark }

func (r reservation) pages() uint64 { return uint64(r & reservationPages) }

// Reserve allocates n bytes on pages that hold nothing else and are never freed, and returns their offset
// from the base. The pages come from the heap, or from the end of an arena without a heap.
func (m *Memory) Reserve(n uint64) (_ uint64, err error) {
	defer m.Catch(debug.SetPanicOnFault(true), &err)
	n = (n + PageSize - 1) / PageSize * PageSize
	h, err := m.OpenHeap()
	if errors.Is(err, ErrFormat) {
		var off uint64
		if off, err = m.reserveAtEnd(n / PageSize); !errors.Is(err, errReservationEnded) {
			return off, err
		}
		// Another process is creating the heap, or was killed while it created the heap. Complete it.
		h, err = m.Format()
	}
	if err != nil {
		return 0, err
	}
	ref, err := h.Alloc(n + PageSize)
	if err != nil {
		return 0, err
	}
	return (h.Address(ref) - m.Base + PageSize - 1) / PageSize * PageSize, nil
}

var errReservationEnded = errors.New("arena is being formatted")

// reserveAtEnd reserves pages directly before the pages that are reserved already, and returns their
// offset from the base.
func (m *Memory) reserveAtEnd(pages uint64) (off uint64, err error) {
	defer m.Catch(debug.SetPanicOnFault(true), &err)
	if err := m.Present(0, PageSize); err != nil {
		return 0, err
	}
	s := m.super()
	for range MaxTries {
		r := reservation(atomic.LoadUint64(&s.Reserved))
		switch {
		case r == 0 && !m.blank(s):
			if atomic.LoadUint64(&s.Reserved) != 0 {
				continue // another process has reserved pages meanwhile
			}
			return 0, fmt.Errorf("%w: page 0 holds other data and cannot record reserved pages", ErrFormat)
		case r != 0 && !r.valid():
			return 0, fmt.Errorf("%w: page 0 holds other data: %#x is not a record of reserved pages", ErrFormat, uint64(r))
		case r&reservationEnded != 0:
			return 0, errReservationEnded
		case r.pages() >= m.Size/PageSize:
			return 0, fmt.Errorf("%w: %d of %d pages are reserved", ErrCorrupt, r.pages(), m.Size/PageSize)
		case pages > m.Size/PageSize-1-r.pages(): // page 0 holds the record
			return 0, fmt.Errorf("%d bytes: %w", pages*PageSize, ErrFull)
		}
		now := reservationMark | (r&reservationPages + reservation(pages))
		if atomic.CompareAndSwapUint64(&s.Reserved, uint64(r), uint64(now)) {
			return m.Size - now.pages()*PageSize, nil
		}
	}
	return 0, ErrContended
}

// blank reports whether page 0 is all zeros.
func (m *Memory) blank(s *Super) bool {
	// SAFETY: s points to page 0, which has PageSize bytes.
	page := unsafe.Slice((*byte)(unsafe.Pointer(s)), PageSize)
	return len(bytes.TrimLeft(page, "\x00")) == 0
}

// endReservations sets the bit reservationEnded in page 0 and returns the offset at which the heap ends.
func (m *Memory) endReservations(s *Super) (limit uint64, err error) {
	for range MaxTries {
		r := reservation(atomic.LoadUint64(&s.Reserved))
		if r == 0 && !m.blank(s) {
			if atomic.LoadUint64(&s.Reserved) != 0 {
				continue // another process has reserved pages meanwhile
			}
			return 0, fmt.Errorf("%w: page 0 holds other data", ErrFormat)
		}
		if r != 0 && !r.valid() {
			return 0, fmt.Errorf("%w: page 0 holds other data", ErrFormat)
		}
		if r.pages()+MinSize/PageSize > m.Size/PageSize {
			return 0, fmt.Errorf("%w: %d of %d pages are reserved", ErrFull, r.pages(), m.Size/PageSize)
		}
		if atomic.CompareAndSwapUint64(&s.Reserved, uint64(r), uint64(r|reservationMark|reservationEnded)) {
			return m.Size - r.pages()*PageSize, nil
		}
	}
	return 0, ErrContended
}
