package drops

// observed is what is known of the valid calls on a ring: those that a ring of its size can serve.
type observed struct {
	bytes               uint64 // lengths of all calls
	failed, failedBytes uint64 // of calls that failed, as computed
	// Calls whose outcome nothing confirmed.
	unsureReserved, unsureRefused uint64
	minLen, maxLen                uint64 // of the calls
	// leastMoved and mostMoved bound the movement of the producer's position by the calls.
	leastMoved, mostMoved uint64
	conserved             bool // the movement is known and all calls were seen
}

// bounds returns the least and the greatest possible number of failed calls.
//
// The true number is failed + x - y, where x of the calls taken for reserved failed, and y of those taken for refused reserved.
// The bytes of the x minus those of the y are d: what all calls asked for, minus the movement of the
// producer, minus what was taken for refused.
func (o observed) bounds() (low, high uint64) {
	maxX, maxY := int64(o.unsureReserved), int64(o.unsureRefused)
	failed := int64(o.failed)
	if !o.conserved || o.minLen == 0 {
		return uint64(max(0, failed-maxY)), uint64(failed + maxX)
	}
	refused := int64(o.bytes - o.failedBytes)
	least, most := refused-int64(o.mostMoved), refused-int64(o.leastMoved)
	minLen, maxLen := int64(o.minLen), int64(o.maxLen)
	// Interrupts between a call's entry and its end escape the check at the next call. The bytes do not.
	if least > 0 {
		maxX = max(maxX, ceil(least, minLen))
	}
	if most < 0 {
		maxY = max(maxY, ceil(-most, minLen))
	}
	low = uint64(max(0, failed-excess(maxY, maxX, -least, minLen, maxLen)))
	high = uint64(max(0, failed+excess(maxX, maxY, most, minLen, maxLen)))
	return low, max(low, high)
}

// excess returns the greatest possible x - y, if x is at most maxX, y at most maxY, and x records have at most d bytes more than
// y others.
func excess(maxX, maxY, d, minLen, maxLen int64) int64 {
	// The more bytes the y have, the more records the x can be, but not more than maxX.
	at := func(y int64) int64 { return min(maxX, floor(d+y*maxLen, minLen)) - y }
	y := min(max(0, ceil(maxX*minLen-d, maxLen)), maxY)
	return max(at(y), at(max(0, y-1)))
}

// floor returns a/b, rounded down; b is positive.
func floor(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

func ceil(a, b int64) int64 { return -floor(-a, b) }

// recordLength returns the space that a record takes in a ring (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve).
func recordLength(size uint64) uint64 { return (size + 8 + 7) &^ 7 }
