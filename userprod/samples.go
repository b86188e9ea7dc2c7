package userprod

import (
	"iter"
	"math"

	"github.com/rbtool/rbtool/internal/ring"
)

// Samples returns an iterator over rooms for samples of n bytes each, for as
// long as there is room: the fastest way to write samples of one size one by
// one. Going on to the next room completes the sample before, and each time that so many
// are complete, together, they are published: 1 publishes each sample by itself,
// 0 leaves it to Publish and End. Leaving the loop at a room gives it up.
//
//	for room := range b.Samples(16, 1) {
//		encode(room, event)
//		if event = next(); event == nil {
//			break
//		}
//	}
//
// Until the loop is over, other calls of b fail; but it may be ended.
//
// When the loop is over, [Batch.Err] tells why, if it was not left: [ErrFull], or
// the errors of [Producer.Reserve].
func (b *Batch) Samples(n, together int) iter.Seq[[]byte] {
	// The compiler inlines this function literal, and the loop body as yield,
	// into the caller: what every sample needs is in variables that live in registers.
	return func(yield func([]byte) bool) {
		if !b.beginLoop(n) {
			return
		}
		span, header := ring.Span(uint32(n)), ring.Header(n)
		win, off, end := b.win, uint64(0), b.loopRoom-b.loopRoom%span
		chunk := publishedTogether(together, span)
		due := chunk          // where samples are to be published
		stop := min(due, end) // where there is something to do between samples
		for {
			if off == stop {
				if off == due {
					if !b.p.publish(b.base + off) {
						b.err = b.p.unpublished()
						b.endLoop(off)
						return
					}
					due += chunk
				}
				if off == end {
					b.endLoop(off)
					if !b.beginLoop(n) {
						return
					}
					due -= off
					win, off, end = b.win, 0, b.loopRoom-b.loopRoom%span
				}
				stop = min(due, end)
			}
			if !yield(win.Room(off, uint32(n))) {
				b.endLoop(off)
				b.err = nil
				return
			}
			if b.p == nil {
				b.err = errEnded
				return
			}
			win.SetHeader(off, header)
			off += span
		}
	}
}

// publishedTogether is how many bytes of samples of span bytes are published together.
func publishedTogether(samples int, span uint64) uint64 {
	if samples <= 0 || uint64(samples) > math.MaxUint32 {
		return math.MaxUint64 / 2 // no ring is as large
	}
	return uint64(samples) * span
}

// beginLoop makes a window with room for one of n bytes, which only the loop can use.
func (b *Batch) beginLoop(n int) bool {
	if b.err = b.extend(n); b.err != nil {
		return false
	}
	b.loopRoom, b.room, b.looping = b.room, 0, true
	return true
}

// endLoop ends that. Samples are complete up to off.
func (b *Batch) endLoop(off uint64) {
	if b.p == nil {
		return // left and ended
	}
	b.off, b.last = off, off
	b.room, b.looping = b.loopRoom, false
}

// Err tells what ended the last loop over [Batch.Samples], nil when it was left.
func (b *Batch) Err() error { return b.err }
