package userring

import "github.com/rbtool/rbtool/internal/ring"

// putRight removes one fault from the ring: that of the positions if there is one, else that
// of the header at pos. It returns how many bytes it discarded. If another process keeps
// writing to the ring, the next walk finds the fault again.
func putRight(mem *ring.Mapping, pos ring.Pos) (lost uint64) {
	cons, prod, size := mem.ConsumerPos(), mem.ProducerPos(), mem.Size()
	end, fault := positionFault(cons, prod, size)
	switch {
	case fault != nil && uint64(prod-cons) <= size: // not a multiple of 8
		mem.MoveProducerPos(prod, end)
		return uint64(prod - end)
	case fault != nil:
		restart(mem, cons)
		if prod < cons {
			return 0
		}
		return min(uint64(prod-cons), size)
	case pos == end || end-pos > end-cons: // a position has moved since the walk
		return 0
	}
	discardRest(mem.Data(), pos, end)
	return uint64(end - pos)
}

// restart empties the ring from cons, the kernel's position. The kernel may already be
// draining a sample there and then moves consumer_pos behind it, so the ring restarts with
// a discarded sample of that size.
func restart(mem *ring.Mapping, cons ring.Pos) {
	d := mem.Data()
	t := d.Tagged(cons)
	n := t.Header().Len()
	if n > ring.MaxSample || ring.Span(n) > mem.Size() {
		n = 0
	}
	// The position first: a kernel that passes the sample must not go on to the old
	// producer_pos.
	mem.SetProducerPos(cons.Next(n))
	d.MoveTagged(cons, t, ring.Tag(ring.Header(n|ring.DiscardBit), 0))
}

// discardRest turns everything from pos to end into discarded samples.
func discardRest(d ring.Data, pos, end ring.Pos) {
	// The kernel checks the length before the DISCARD bit, so a sample must fit a dynptr.
	const longest = (ring.MaxSample + 1) / 2
	// The last sample first: the kernel is stuck at pos and continues as soon as the first
	// is written.
	for at := pos + (end-pos-1)/longest*longest; ; at -= longest {
		n := uint32(min(end-at, longest) - ring.HeaderSize)
		d.MoveTagged(at, d.Tagged(at), ring.Tag(ring.Header(n|ring.DiscardBit), 0))
		if at == pos {
			return
		}
	}
}
