package userring

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/ring"
)

// Recovery is what [Restore] found in a ring and changed.
type Recovery struct {
	// Abandoned counts the busy samples of a dead producer. They are discarded.
	Abandoned int
	// Mended is the fault that was repaired, nil if there was none. Lost is how many bytes
	// were discarded for it, headers included.
	Mended *Fault
	Lost   uint64
}

// Restore makes a ring without a producer drainable: it discards busy samples and leaves
// committed ones alone. If the ring is inconsistent it returns a [*Fault], or with mend
// repairs the ring. The kernel may drain the ring meanwhile.
func Restore(mem *ring.Mapping, mend bool) (Recovery, error) {
	var found Recovery
	const tries = 8
	for range tries {
		// In this order: the kernel never moves consumer_pos beyond producer_pos.
		cons := mem.ConsumerPos()
		fault := walk(mem, cons, mem.ProducerPos(), func(pos ring.Pos, t ring.Tagged) {
			if t.Header().State(ring.User) == ring.Busy && discard(mem.Data(), pos, t) {
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
	return found, fmt.Errorf("%w: still corrupt after repair: another process is writing", found.Mended)
}

// discard turns a busy sample into a discarded one. It returns false if the header has
// changed meanwhile.
func discard(d ring.Data, pos ring.Pos, t ring.Tagged) bool {
	h := t.Header()&^ring.BusyBit | ring.DiscardBit
	return d.MoveTagged(pos, t, ring.Tag(h, t.Tag()))
}

// walk calls visit for each undrained sample, oldest first, and returns the fault that ends
// the walk early. It takes at most as many steps as the ring has room for headers.
func walk(mem *ring.Mapping, cons, prod ring.Pos, visit func(pos ring.Pos, t ring.Tagged)) *Fault {
	end, fault := positionFault(cons, prod, mem.Size())
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
		pos = pos.Next(t.Header().Len())
	}
	return fault
}
