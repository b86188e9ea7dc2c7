package arenamem

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// reservation records the pages at the end of an arena without a heap that hold variables of
// programs. It lies in page 0, where all processes see it; a heap that is made later ends before
// these pages. Format ends reservations: from then on such memory comes from the heap.
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

// reserve takes n bytes on pages of their own, never to be freed, and returns their offset. They come
// from the heap, or from the end of an arena without one.
func (a *Arena) reserve(n uint64) (uint64, error) {
	n = (n + pageSize - 1) / pageSize * pageSize
	h, err := a.heap()
	if errors.Is(err, ErrFormat) {
		var off uint64
		if off, err = a.reserveAtEnd(n / pageSize); !errors.Is(err, errReservationEnded) {
			return off, err
		}
		// A process is making a heap, or was killed doing so.
		h, err = a.format()
	}
	if err != nil {
		return 0, err
	}
	p, err := h.Alloc(n + pageSize)
	if err != nil {
		return 0, err
	}
	return (a.offsetOf(uint64(p)) + pageSize - 1) / pageSize * pageSize, nil
}

var errReservationEnded = errors.New("arena is being formatted")

// reserveAtEnd takes pages before those already reserved.
func (a *Arena) reserveAtEnd(pages uint64) (off uint64, err error) {
	defer a.catch(debug.SetPanicOnFault(true), &err)
	if err := a.present(0, pageSize); err != nil {
		return 0, err
	}
	s := (*super)(a.mem)
	for range maxTries {
		r := reservation(atomic.LoadUint64(&s.reserved))
		switch {
		case r == 0 && !a.blank(s):
			if atomic.LoadUint64(&s.reserved) != 0 {
				continue // another process was faster
			}
			return 0, fmt.Errorf("%w: page 0 has other contents and cannot record reserved pages", ErrFormat)
		case r != 0 && !r.valid():
			return 0, fmt.Errorf("%w: page 0 has other contents: the record of reserved pages is %#x", ErrFormat, uint64(r))
		case r&reservationEnded != 0:
			return 0, errReservationEnded
		case r.pages() >= a.size/pageSize:
			return 0, fmt.Errorf("%w: %d of %d pages are reserved", ErrCorrupt, r.pages(), a.size/pageSize)
		case pages > a.size/pageSize-1-r.pages(): // page 0 has the record
			return 0, fmt.Errorf("%d bytes: %w", pages*pageSize, ErrFull)
		}
		now := reservationMark | (r&reservationPages + reservation(pages))
		if atomic.CompareAndSwapUint64(&s.reserved, uint64(r), uint64(now)) {
			return a.size - now.pages()*pageSize, nil
		}
	}
	return 0, ErrBusy
}

// blank reports whether page 0 is all zeros.
func (a *Arena) blank(s *super) bool {
	page := unsafe.Slice((*byte)(unsafe.Pointer(s)), pageSize)
	return len(bytes.TrimLeft(page, "\x00")) == 0
}

// endReservations ends reservations and returns the offset at which a heap must end.
func (a *Arena) endReservations(s *super) (limit uint64, err error) {
	for range maxTries {
		r := reservation(atomic.LoadUint64(&s.reserved))
		if r == 0 && !a.blank(s) {
			if atomic.LoadUint64(&s.reserved) != 0 {
				continue // another process was faster
			}
			return 0, fmt.Errorf("%w: page 0 has other contents", ErrFormat)
		}
		if r != 0 && !r.valid() {
			return 0, fmt.Errorf("%w: page 0 has other contents", ErrFormat)
		}
		if r.pages()+headPages+1 > a.size/pageSize {
			return 0, fmt.Errorf("%w: %d of %d pages are reserved", ErrFull, r.pages(), a.size/pageSize)
		}
		if atomic.CompareAndSwapUint64(&s.reserved, uint64(r), uint64(r|reservationMark|reservationEnded)) {
			return a.size - r.pages()*pageSize, nil
		}
	}
	return 0, ErrBusy
}
