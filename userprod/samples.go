package userprod

import (
	"iter"

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
		win, off, room, count := b.win, uint64(0), b.loopRoom, together
		span, header := ring.Span(uint32(n)), ring.Header(n)
		for {
			if off+span > room {
				b.endLoop(off)
				if !b.beginLoop(n) {
					return
				}
				win, off, room = b.win, 0, b.loopRoom
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
			if count--; count == 0 {
				if !b.p.publish(b.base + off) {
					b.err = b.p.unpublished()
					b.endLoop(off)
					return
				}
				count = together
			}
		}
	}
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
