package userring

import "github.com/rbtool/rbtool/internal/ring"

// putRight repairs one fault of the ring: that of the positions if there is one, otherwise that of
// the header at pos. It returns the number of discarded bytes. If another process keeps writing to
// the ring, the next walk finds a fault again.
func putRight(mem *ring.Mapping, pos ring.Pos) (lost uint64) {
	cons, prod, size := mem.ConsumerPos(), mem.ProducerPos(), mem.Size()
	end, fault := positionFault(cons, prod, size)
	switch {
	case fault != nil && uint64(prod-cons) <= size: // producer_pos is not a multiple of 8, or has wrapped around at 2^64
		mem.MoveProducerPos(prod, end)
		return uint64(prod - end)
	case fault != nil:
		restart(mem, cons)
		if prod < cons { // as integers, see positionFault: the kernel drains nothing
			return 0
		}
		return min(uint64(prod-cons), size)
	case pos == end || end-pos > end-cons: // consumer_pos or producer_pos has moved since the walk
		return 0
	}
	discardRest(mem.Data(), pos, end)
	return uint64(end - pos)
}

// restart empties the ring from cons, the consumer_pos of the kernel. The kernel may already be
// draining a sample at cons, and then moves consumer_pos to the end of that sample. So the ring
// restarts with a discarded sample of the same size.
func restart(mem *ring.Mapping, cons ring.Pos) {
	d := mem.Data()
	t := d.Tagged(cons)
	n := t.Header().Len()
	if n > ring.MaxSample || ring.Span(n) > mem.Size() {
		n = 0
	}
	// Store producer_pos first: if the kernel moves beyond the sample, it must not continue up to
	// the old producer_pos (litmus recover-restart).
	mem.SetProducerPos(cons.Next(n))
	d.MoveTagged(cons, t, ring.Tag(ring.Header(n|ring.DiscardBit), 0))
}

// discardRest replaces everything from pos to end by discarded samples.
func discardRest(d ring.Data, pos, end ring.Pos) {
	// The kernel checks the length before the DISCARD bit, so even a discarded sample must not be
	// longer than a dynptr.
	const longest = (ring.MaxSample + 1) / 2
	// Write the last sample first: the kernel stops at pos, and continues as soon as the first
	// sample is written (litmus recover-rest).
	for at := pos + (end-pos-1)/longest*longest; ; at -= longest {
		n := uint32(min(end-at, longest) - ring.HeaderSize)
		d.MoveTagged(at, d.Tagged(at), ring.Tag(ring.Header(n|ring.DiscardBit), 0))
		if at == pos {
			return
		}
	}
}
