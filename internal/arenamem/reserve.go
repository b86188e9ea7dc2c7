package arenamem

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// reservation records the pages at the end of an arena that hold variables of programs. It lies in page
// 0, where all processes see it. A heap that is created later ends before these pages. Format ends
// reservations: from then on such memory comes from the heap.
//
//	bits 0-30   pages
//	bit 31      reservations have ended
//	bits 32-63  reservationMark
type reservation uint64

const (
	reservationMark  reservation = 0x64767372 << 32 // "rsvd", little endian
	reservationEnded reservation = 1 << 31
	reservationPages             = reservationEnded - 1
)

func (r reservation) valid() bool { return r>>32<<32 == reservationMark }

func (r reservation) pages() uint64 { return uint64(r & reservationPages) }

// Reserve allocates n bytes on pages of their own, which are never freed, and returns their offset. They
// come from the heap, or from the end of an arena without a heap.
func (m *Memory) Reserve(n uint64) (_ uint64, err error) {
	defer m.Catch(debug.SetPanicOnFault(true), &err)
	n = (n + PageSize - 1) / PageSize * PageSize
	h, err := m.OpenHeap()
	if errors.Is(err, ErrFormat) {
		var off uint64
		if off, err = m.reserveAtEnd(n / PageSize); !errors.Is(err, errReservationEnded) {
			return off, err
		}
		// A process is creating a heap, or was killed while it did.
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

// reserveAtEnd reserves pages before those already reserved.
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
				continue // reserved by another process meanwhile
			}
			return 0, fmt.Errorf("%w: page 0 has other contents and cannot record reserved pages", ErrFormat)
		case r != 0 && !r.valid():
			return 0, fmt.Errorf("%w: page 0 has other contents: the record of reserved pages is %#x", ErrFormat, uint64(r))
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
	// SAFETY: s is page 0.
	page := unsafe.Slice((*byte)(unsafe.Pointer(s)), PageSize)
	return len(bytes.TrimLeft(page, "\x00")) == 0
}

// endReservations ends reservations and returns the offset at which the heap ends.
func (m *Memory) endReservations(s *Super) (limit uint64, err error) {
	for range MaxTries {
		r := reservation(atomic.LoadUint64(&s.Reserved))
		if r == 0 && !m.blank(s) {
			if atomic.LoadUint64(&s.Reserved) != 0 {
				continue // reserved by another process meanwhile
			}
			return 0, fmt.Errorf("%w: page 0 has other contents", ErrFormat)
		}
		if r != 0 && !r.valid() {
			return 0, fmt.Errorf("%w: page 0 has other contents", ErrFormat)
		}
		if r.pages()+HeadPages+1 > m.Size/PageSize {
			return 0, fmt.Errorf("%w: %d of %d pages are reserved", ErrFull, r.pages(), m.Size/PageSize)
		}
		if atomic.CompareAndSwapUint64(&s.Reserved, uint64(r), uint64(r|reservationMark|reservationEnded)) {
			return m.Size - r.pages()*PageSize, nil
		}
	}
	return 0, ErrContended
}
