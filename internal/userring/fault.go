package userring

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

// Fault is how a ring contradicts itself, so that the kernel cannot go on in it, or
// takes for samples what is none. It is an error that is [ring.ErrCorrupt].
type Fault struct {
	// Pos is the position of the header at fault, or where the kernel is when
	// the positions are.
	Pos uint64
	// Errno is what bpf_user_ringbuf_drain returns when it gets there: EINVAL or
	// E2BIG; 0 when it does not notice.
	Errno unix.Errno

	text string
}

func (f *Fault) Error() string {
	if f.Errno == 0 {
		return fmt.Sprintf("%v: %s", ring.ErrCorrupt, f.text)
	}
	return fmt.Sprintf("%v: %s: the kernel's drain stops with %s", ring.ErrCorrupt, f.text, unix.ErrnoName(f.Errno))
}

// Is makes the error ErrCorrupt.
func (f *Fault) Is(target error) bool { return target == ring.ErrCorrupt }

// Unwrap makes the error Errno.
func (f *Fault) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// HeaderFault returns what is wrong with a header at pos, nil when the kernel can go
// on there. Its conditions and their order are those of __bpf_user_ringbuf_peek
// (kernel/bpf/ringbuf.c), but for positions.
func HeaderFault(h ring.Header, pos, prod, size uint64) *Fault {
	n, rest := h.Len(), prod-pos
	switch span := ring.Span(n); {
	case span > rest:
		return &Fault{pos, unix.EINVAL, fmt.Sprintf("sample of %d bytes at position %d ends behind the producer position %d", n, pos, prod)}
	case span > size:
		return &Fault{pos, unix.E2BIG, fmt.Sprintf("sample of %d bytes at position %d in a ring of %d", n, pos, size)}
	case n > ring.MaxSample:
		return &Fault{pos, unix.E2BIG, fmt.Sprintf("sample of %d bytes at position %d, more than a dynptr can hold", n, pos)}
	}
	return nil
}

// faultOf returns what is wrong with the positions themselves, and up to where the ring
// can be read in spite of it.
func faultOf(cons, prod, size uint64) (end uint64, f *Fault) {
	end = prod &^ 7
	switch {
	case cons > prod:
		f = &Fault{cons, 0, fmt.Sprintf("producer position %d is behind the consumer position %d", prod, cons)}
	case prod-cons > size:
		f = &Fault{cons, 0, fmt.Sprintf("producer position %d is further than %d bytes from the consumer position %d", prod, size, cons)}
	case prod%8 != 0:
		return end, &Fault{cons, unix.EINVAL, fmt.Sprintf("producer position %d is not a multiple of 8", prod)}
	default:
		return end, nil
	}
	if prod%8 != 0 {
		f.Errno = unix.EINVAL
	}
	return cons, f
}
