package userring

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

// Fault is an inconsistency of a ring: either the kernel cannot drain the ring, or it would drain
// samples that no producer wrote. A Fault matches [ring.ErrCorrupt].
type Fault struct {
	// Pos is the position of the inconsistent header, or consumer_pos if the positions are
	// inconsistent.
	Pos ring.Pos
	// Errno is what bpf_user_ringbuf_drain returns at Pos: EINVAL, E2BIG, or 0 if the drain does
	// not detect the fault.
	Errno unix.Errno

	text string
}

func (f *Fault) Error() string {
	if f.Errno == 0 {
		return fmt.Sprintf("%v: %s", ring.ErrCorrupt, f.text)
	}
	return fmt.Sprintf("%v: %s: the kernel's drain stops with %s", ring.ErrCorrupt, f.text, unix.ErrnoName(f.Errno))
}

// Is reports whether target is [ring.ErrCorrupt].
//
//lint:ignore SA1032 ErrCorrupt matches the sentinels of its kind.
func (f *Fault) Is(target error) bool { return errors.Is(ring.ErrCorrupt, target) }

// Unwrap returns Errno, or nil if Errno is 0.
func (f *Fault) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// HeaderFault returns the fault of header h at pos, or nil if the kernel can drain the sample. It
// makes the same checks as __bpf_user_ringbuf_peek (kernel/bpf/ringbuf.c), in the same order,
// except for the checks of the positions.
func HeaderFault(h ring.Header, pos, prod ring.Pos, size uint64) *Fault {
	n, rest := h.Len(), uint64(prod-pos)
	switch span := ring.Span(n); {
	case span > rest:
		return &Fault{pos, unix.EINVAL, fmt.Sprintf("sample of %d bytes at position %d ends after the producer position %d", n, pos, prod)}
	case span > size:
		return &Fault{pos, unix.E2BIG, fmt.Sprintf("sample of %d bytes at position %d is longer than the ring of %d bytes", n, pos, size)}
	case n > ring.MaxSample:
		return &Fault{pos, unix.E2BIG, fmt.Sprintf("sample of %d bytes at position %d is longer than a dynptr can be", n, pos)}
	}
	return nil
}

// positionFault returns the fault of the positions, or nil, and the position up to which the ring
// can be read. It compares the positions as integers, as __bpf_user_ringbuf_peek does (cons_pos >=
// prod_pos): once producer_pos has wrapped around at 2^64 and consumer_pos has not, the kernel
// drains nothing.
func positionFault(cons, prod ring.Pos, size uint64) (end ring.Pos, f *Fault) {
	end = prod &^ 7
	switch {
	case cons > prod:
		f = &Fault{cons, 0, fmt.Sprintf("producer position %d is behind the consumer position %d", prod, cons)}
	case uint64(prod-cons) > size:
		f = &Fault{cons, 0, fmt.Sprintf("producer position %d is more than the ring of %d bytes ahead of the consumer position %d", prod, size, cons)}
	case !prod.Aligned():
		return end, &Fault{cons, unix.EINVAL, fmt.Sprintf("producer position %d is not a multiple of 8", prod)}
	default:
		return end, nil
	}
	if !prod.Aligned() {
		f.Errno = unix.EINVAL
	}
	return cons, f
}
