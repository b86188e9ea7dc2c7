package userprod

import (
	"context"
	"iter"
	"math"

	"github.com/rbtool/rbtool/internal/ring"
)

// Samples returns an iterator over memory for samples of n bytes each. It is the fastest way to
// write samples of one size one by one. Moving on to the next sample completes the previous sample.
// The number of samples that are published at once is together: 1 publishes each sample by itself,
// 0 leaves all to Publish and End. Leaving the loop drops the current sample.
//
//	for room := range b.Samples(ctx, 16, 1) {
//		event := next()
//		if event == nil {
//			break
//		}
//		encode(room, event)
//	}
//
// If the ring is full, the loop publishes the complete samples and waits for room, as [Batch.Next]
// does. An error of [Producer.Reserve] ends the loop; [Batch.Err] returns it. In the loop body,
// Next, TryNext and Publish fail, and Drop does nothing. End in the loop body, or in a deferred
// call after a panic, drops the samples that the loop has not published.
func (b *Batch) Samples(ctx context.Context, n, together int) iter.Seq[[]byte] {
	// The compiler inlines this function literal, and the loop body as yield, into the caller, so
	// win, off and stop are in registers.
	return func(yield func([]byte) bool) {
		if !b.beginLoop(ctx, n) {
			return
		}
		span, header := ring.Span(uint32(n)), ring.Header(n)
		win, off, end := b.win, uint64(0), b.loopRoom-b.loopRoom%span
		chunk := publishedTogether(together, span)
		due := chunk          // offset at which the samples must be published next
		stop := min(due, end) // offset at which the fast path ends
		for {
			if off == stop {
				if off == due {
					if !b.p.publish(b.base + ring.Pos(off)) {
						b.err = b.p.unpublished()
						b.endLoop(off)
						return
					}
					due += chunk
				}
				if off == end {
					b.endLoop(off)
					if !b.beginLoop(ctx, n) {
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

// publishedTogether returns the size in bytes of the given number of samples, each of which takes
// span bytes.
func publishedTogether(samples int, span uint64) uint64 {
	if samples <= 0 || uint64(samples) > math.MaxUint32 {
		return math.MaxUint64 / 2 // larger than any ring
	}
	return uint64(samples) * span
}

// beginLoop starts a window with room for a sample of n bytes, which only the loop uses. It waits
// for room until ctx is done.
func (b *Batch) beginLoop(ctx context.Context, n int) bool {
	for {
		if b.away {
			if b.err = b.take(ctx); b.err != nil {
				return false
			}
		}
		if b.err = b.extend(n); b.err == nil {
			break
		}
		if b.err == ErrFull {
			b.err = b.await(ctx, n, 0) // the loop body has no sample yet
		}
		if b.err != nil {
			return false
		}
	}
	b.loopRoom, b.room, b.looping = b.room, 0, true
	return true
}

// endLoop ends the loop. The samples before off are complete.
func (b *Batch) endLoop(off uint64) {
	if b.p == nil {
		return // the loop body has called End
	}
	b.off, b.last = off, off
	b.room, b.looping = b.loopRoom, false
}

// Err returns the error that ended the last loop over [Batch.Samples], or nil if there was none.
// Call it before [Batch.End], which clears it.
func (b *Batch) Err() error { return b.err }
