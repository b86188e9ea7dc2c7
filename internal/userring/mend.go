package userring

import "github.com/rbtool/rbtool/internal/ring"

// putRight ends a contradiction in the ring: of the positions where there is one,
// else of the header at pos. It returns how many bytes it threw away. What it
// could not end, because somebody writes there, is found by the next walk.
func putRight(mem *ring.Mapping, pos uint64) (lost uint64) {
	cons, prod, size := mem.ConsumerPos(), mem.ProducerPos(), mem.Size()
	end, fault := faultOf(cons, prod, size)
	switch {
	case fault != nil && prod-cons <= size: // not a multiple of 8, no more
		mem.MoveProducerPos(prod, end)
		return prod - end
	case fault != nil:
		restart(mem, cons)
		if prod < cons {
			return 0
		}
		return min(prod-cons, size)
	case pos == end || end-pos > end-cons: // somebody has moved a position
		return 0
	}
	discardRest(mem.Data(), pos, end)
	return end - pos
}

// restart makes the ring empty from cons on, where the kernel is. It may have
// taken what lies there for a sample and be at work on it: then consumer_pos
// will move behind that, so the ring begins with a discarded sample of that size.
func restart(mem *ring.Mapping, cons uint64) {
	d := mem.Data()
	t := d.Tagged(cons)
	n := t.Header().Len()
	if n > ring.MaxSample || ring.Span(n) > mem.Size() {
		n = 0
	}
	// The position comes first: a kernel that passes over the sample must not
	// go on by the old one.
	mem.SetProducerPos(cons + ring.Span(n))
	d.MoveTagged(cons, t, ring.Tag(ring.Header(n|ring.DiscardBit), 0))
}

// discardRest turns everything from pos to end into discarded samples.
func discardRest(d ring.Data, pos, end uint64) {
	// No longer than a dynptr may be: the kernel looks at that first.
	const longest = (ring.MaxSample + 1) / 2
	// The last comes first: the kernel, which is stuck at pos, goes on once the first is there.
	for at := pos + (end-pos-1)/longest*longest; ; at -= longest {
		n := uint32(min(end-at, longest) - ring.HeaderSize)
		d.MoveTagged(at, d.Tagged(at), ring.Tag(ring.Header(n|ring.DiscardBit), 0))
		if at == pos {
			return
		}
	}
}
