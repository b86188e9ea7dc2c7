package userring

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/ring"
)

// Recovery is what New found in a ring and did about it.
type Recovery struct {
	// Abandoned is how many samples were BUSY and their producer dead. They
	// are discarded now.
	Abandoned int
	// Mended is what was wrong with the ring until [Options].Mend put it right,
	// and Lost how many bytes, headers included, were thrown away for it. Nil
	// and 0 when all was well.
	Mended *Fault
	Lost   uint64
}

// restore makes the kernel able to go on in a ring that nobody produces into: it
// discards samples that are BUSY. What is committed is not touched. Where the
// ring contradicts itself it returns a *Fault, or puts it right when mend is true.
// The kernel may drain the ring at the same time.
func Restore(mem *ring.Mapping, mend bool) (Recovery, error) {
	var found Recovery
	const tries = 8 // somebody may write there all the time
	for range tries {
		// In this order: the kernel moves consumer_pos up to producer_pos at most.
		cons := mem.ConsumerPos()
		fault := walk(mem, cons, mem.ProducerPos(), func(pos uint64, t ring.Tagged) {
			if t.Header().Busy() && !t.Header().Discarded() && discard(mem.Data(), pos, t) {
				found.Abandoned++
			}
		})
		switch {
		case fault == nil:
			return found, nil
		case !mend:
			return found, fault
		}
		if found.Mended == nil {
			found.Mended = fault
		}
		found.Lost += putRight(mem, fault.Pos)
	}
	return found, fmt.Errorf("%w, again and again: somebody writes into the ring", found.Mended)
}

// discard turns a BUSY sample into one that the kernel passes over. It returns
// false when the header changes meanwhile.
func discard(d ring.Data, pos uint64, t ring.Tagged) bool {
	h := t.Header()&^ring.BusyBit | ring.DiscardBit
	return d.MoveTagged(pos, t, ring.Tag(h, t.Tag()))
}

// walk calls visit for each sample that the kernel has not drained, from the
// oldest on, and returns where and why it cannot go on to the end. It takes no
// more steps than there are headers in the ring.
func walk(mem *ring.Mapping, cons, prod uint64, visit func(pos uint64, t ring.Tagged)) *Fault {
	end, fault := faultOf(cons, prod, mem.Size())
	if fault != nil && fault.Errno == 0 && cons < prod {
		if f := HeaderFault(mem.Data().Tagged(cons).Header(), cons, prod, mem.Size()); f != nil {
			fault.Errno = f.Errno
		}
	}
	for pos := cons; pos != end; {
		t := mem.Data().Tagged(pos)
		if f := HeaderFault(t.Header(), pos, end, mem.Size()); f != nil {
			if fault == nil {
				fault = f
			}
			return fault
		}
		visit(pos, t)
		pos += ring.Span(t.Header().Len())
	}
	return fault
}
