package consumer

import (
	"fmt"
	"iter"
	"math"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
)

// Pass returns an iterator over the records that are in the ring when the
// loop begins, without copying them: at most limit of them, or all when limit
// is zero. It ends early at a record that is still BUSY; discarded records are
// skipped. It does not wait: see [Reader.Wait].
//
// Going on to the next record consumes the one before; leaving the loop at a
// record does not consume it. The kernel is told when the pass ends, and
// whenever an eighth of the ring has been consumed.
//
// When the loop is over, [Reader.Err] tells whether an error ended it. A loop
// body that panics or calls runtime.Goexit leaves its pass open: the next pass
// takes over, with records again that the kernel was not told of, and after Close the
// memory stays mapped, and a claim made, until the Reader is garbage. A pass that is begun in the loop
// body takes over in the same way; the body must leave the loop then.
func (r *Reader) Pass(limit int) iter.Seq[Record] {
	// The compiler inlines this function literal, and the loop body as yield,
	// into the caller. What every record needs is here, in variables that live
	// in registers; all that is rare is in resolve.
	return func(yield func(Record) bool) {
		var w walk
		if !r.begin(&w, limit) {
			return
		}
		// Offsets count from w.pos, where the window begins.
		win, off, pause, left := w.data.Window(w.pos), uint64(0), uint64(0), w.left
		length, span, bytes := uint32(0), ring.Span(0), uint64(0)
		for {
			// Guess that this record is as long as the one before, then
			// check, rather than use the length as loaded: so the address of
			// the next header does not depend on a load that may miss the cache.
			header, next := uint32(win.Header(off)), off+span
			if header != length || next > pause || left == 0 {
				last := span
				length, span = header, ring.Span(header)
				next = off + span
				// A flag bit in length makes it longer than any window.
				if next <= pause && left != 0 {
					win.Touch(off)
				} else {
					w.set(off, last, left, bytes)
					if !r.resolve(&w) {
						break
					}
					win, off, pause, left = w.data.Window(w.pos), 0, w.pause, w.left
					length, span, bytes = w.length, ring.Span(w.length), 0
					next = span
				}
			}
			if !yield(Record{Data: win.Payload(off, length), Pos: w.pos + off}) {
				w.set(off, 0, left, bytes)
				break
			}
			off = next
			left--
			bytes += uint64(length)
		}
		r.end(&w)
	}
}

// walk is the state of one pass.
type walk struct {
	data   ring.Data
	id     uint64 // of the pass
	pos    uint64 // the next record
	last   uint64 // bytes of the record before pos, 0 when not known
	pause  uint64 // a record that ends so many bytes behind pos needs resolve
	end    uint64 // goal; where records are copied, where the copy ends
	goal   uint64 // producer_pos when the pass began
	left   uint64 // records until the limit
	noted  uint64 // left when the counters were brought up to date
	bytes  uint64 // of payload consumed since
	length uint32 // of the record at pos, from resolve
}

// set brings w up to date with the variables of the loop; last is the span of
// the record before off, unless off is 0.
func (w *walk) set(off, last, left, bytes uint64) {
	if off > 0 {
		w.last = last
	}
	w.pos += off
	w.left, w.bytes = left, bytes
}

// begin starts a pass. When it returns false there is nothing to end.
func (r *Reader) begin(w *walk, limit int) bool {
	if !r.enter() {
		return false
	}
	r.pass++
	w.id = r.pass
	if r.err = r.stolen(); r.err != nil {
		r.leave()
		return false
	}
	w.data = r.mem.Data()
	w.pos, w.last = r.pos, r.lastSpan
	w.left = math.MaxUint64
	if limit > 0 {
		w.left = uint64(limit)
	}
	w.noted = w.left
	// Acquire: the headers below this position are initialised.
	w.goal = r.mem.ProducerPos()
	w.end = w.goal
	if r.copies() && int64(w.goal-w.pos) >= 0 {
		w.end = w.pos // nothing is copied yet, and it does not matter how far the producer is ahead
	}
	if r.err = r.check(w.pos, w.end); r.err != nil {
		r.leave()
		return false
	}
	return true
}

// check returns an error when there cannot be records from pos to end. Checked
// once, this holds for a whole pass: it goes on by multiples of 8 and not beyond end.
func (r *Reader) check(pos, end uint64) error {
	if pos%8 == 0 && end%8 == 0 && end-pos <= r.mem.Size() {
		return nil
	}
	return r.corrupt("consumer position %d, producer position %d, ring of %d bytes", pos, end, r.mem.Size())
}

// corrupt returns an error matching ErrCorrupt, or ErrBusy if the ring was stolen: it looks
// corrupt to a robbed Reader once the new holder publishes.
func (r *Reader) corrupt(format string, args ...any) error {
	if err := r.stolen(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// resolve is called when the record at w.pos cannot be handed out at once, and
// does what is due: publish, skip discarded records, tell a BUSY head, the end or a
// contradiction. It returns true with a record to hand out at w.pos, of w.length bytes.
func (r *Reader) resolve(w *walk) bool {
	if w.id != r.pass {
		return false
	}
	for {
		r.advance(w)
		if w.left == 0 {
			return false
		}
		if w.pos == w.end {
			if !r.refill(w) {
				return false
			}
			continue
		}
		header := w.data.Header(w.pos)
		if header.Busy() {
			r.busy.seen(w.pos)
			return false
		}
		span, rest := ring.Span(header.Len()), w.end-w.pos
		if span > rest {
			if r.recopy(w, span) {
				continue
			}
			r.err = r.corrupt("record of %d bytes at position %d, producer position %d", header.Len(), w.pos, w.goal)
			return false
		}
		if header.Discarded() {
			r.counts.discarded.Add(1)
			w.pos, w.last = w.pos+span, span
			continue
		}
		batch := r.mem.Size() / 8
		if w.pos-r.published+span > batch {
			if r.err = r.publish(0); r.err != nil {
				return false
			}
			if r.pos != w.pos { // a rival has consumed this record
				w.pos, w.last = r.pos, 0
				w.end = later(w.end, w.pos)
				continue
			}
		}
		w.length = header.Len()
		w.pause = min(rest, max(r.published+batch-w.pos, span))
		return true
	}
}

// advance makes what the loop consumed the reader's state.
func (r *Reader) advance(w *walk) {
	r.count()
	if n := w.noted - w.left; n > 0 {
		r.counts.records.Add(n)
		r.counts.bytes.Add(w.bytes)
		w.noted, w.bytes = w.left, 0
	}
	r.seen, r.lastSpan = w.goal, w.last
	r.setPos(w.pos)
}

// setPos stores the position of the next record. Partner: the load in Stats.
func (r *Reader) setPos(pos uint64) { order.StoreRelease(&r.pos, pos) }

// end ends a pass: it publishes, keeping back the last record when
// coalescing.
func (r *Reader) end(w *walk) {
	if w.id == r.pass {
		r.advance(w)
		if r.err == nil {
			r.err = r.publish(r.hold())
		}
	}
	r.leave()
}

// hold is how many bytes are kept back from the producer while coalescing:
// those of the last record, unless it is large for the ring. More would look
// like a backlog to producers that wake their consumer when there is much of it.
func (r *Reader) hold() uint64 {
	if r.opts.Coalesce <= 0 || r.lastSpan > r.mem.Size()/8 {
		return 0
	}
	return min(r.lastSpan, r.pos-r.published)
}
