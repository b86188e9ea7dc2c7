package userring

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/ring"
)

// Recovery is what [Restore] found in a ring and changed.
type Recovery struct {
	// Abandoned counts the busy samples of a dead producer, which Restore discarded.
	Abandoned int
	// Mended is the fault that Restore repaired, or nil. Lost is the number of bytes, headers
	// included, that the repair discarded.
	Mended *Fault
	Lost   uint64
}

// Restore makes a ring without a producer drainable: it discards busy samples and does not change
// committed samples. If the ring is inconsistent, Restore repairs it if mend is true, and otherwise
// returns a [*Fault]. The kernel may drain the ring at the same time.
func Restore(mem *ring.Mapping, mend bool) (Recovery, error) {
	var found Recovery
	const tries = 8
	for range tries {
		// Load consumer_pos first: the kernel never moves it beyond producer_pos.
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

// discard makes a busy sample a discarded one. It returns false if the header has changed since t
// was loaded (litmus recover-discard).
func discard(d ring.Data, pos ring.Pos, t ring.Tagged) bool {
	h := t.Header()&^ring.BusyBit | ring.DiscardBit
	return d.MoveTagged(pos, t, ring.Tag(h, t.Tag()))
}

// walk calls visit for each undrained sample, oldest first. It returns the fault of the ring, or
// nil; the walk ends at the fault. It takes at most as many steps as headers fit into the ring.
func walk(mem *ring.Mapping, cons, prod ring.Pos, visit func(pos ring.Pos, t ring.Tagged)) *Fault {
	end, fault := positionFault(cons, prod, mem.Size())
	if fault != nil && fault.Errno == 0 && cons < prod { // as integers: then the kernel loads the header
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
