package consumer

import (
	"fmt"
	"iter"
	"math"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
)

// Pass returns an iterator over the records that are in the ring when the loop begins: at most
// limit of them, or all if limit is zero. It skips discarded records and ends early at a BUSY
// record. It does not wait: see [Reader.Wait]. Records are not copied, except with
// [Options].Shared, after [Options].Steal, and in overwrite mode. Each loop over the iterator is a
// new pass.
//
// Moving on to the next record consumes the previous record. A record at which the loop is left is
// not consumed. Consumption is published when the pass ends, and whenever an eighth of the ring has
// been consumed.
//
// After the loop, [Reader.Err] returns the error that ended it early, if any. A loop body that
// panics or calls runtime.Goexit leaves its pass open. The next pass then takes over and repeats
// unpublished records; after Close the memory stays mapped and the ring claimed until the Reader is
// garbage-collected. A pass that begins in the loop body takes over in the same way, and the body
// must then leave its loop.
func (r *Reader) Pass(limit int) iter.Seq[Record] {
	// The compiler inlines this function literal, and the loop body as yield, into the caller. The
	// work for every record is done here, in registers; rare work is done in resolve.
	return func(yield func(Record) bool) {
		var w walk
		if !r.begin(&w, limit) {
			return
		}
		// Offsets count from w.pos, where the window begins.
		win, off, pause, left := w.data.Window(w.pos), uint64(0), uint64(0), w.left
		length, span, bytes := uint32(0), ring.Span(0), uint64(0)
		for {
			// Guess that this record is as long as the previous record, then check. So the address
			// of the next header does not depend on a load that may miss the cache.
			header, next := uint32(win.Header(off)), off+span
			if header != length || next > pause || left == 0 {
				last := span
				length, span = header, ring.Span(header)
				next = off + span
				// With a flag bit set, length is greater than any window.
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
			if !yield(Record{Data: win.Payload(off, length), Pos: uint64(w.pos) + off}) {
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
	id     uint64   // of the pass
	pos    ring.Pos // the next record
	last   uint64   // bytes of the record that ends at pos, 0 if unknown
	pause  uint64   // bytes from pos on that need no resolve
	end    ring.Pos // where the copy ends; goal if records are not copied
	goal   ring.Pos // producer_pos when the pass began
	left   uint64   // records until the limit
	noted  uint64   // left when the counters were last updated
	bytes  uint64   // of payload consumed since the counters were last updated
	length uint32   // of the record at pos, from resolve
	direct bool     // data is the ring itself, see Reader.direct
}

// set updates w from the variables of the loop in Pass. last is the size of the record that ends at
// off; it is unused if off is 0.
func (w *walk) set(off, last, left, bytes uint64) {
	if off > 0 {
		w.last = last
	}
	w.pos += ring.Pos(off)
	w.left, w.bytes = left, bytes
}

// begin starts a pass. If it returns false, the pass is over and needs no call of end.
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
	r.adopt()
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
	if r.copies() && !w.direct && w.pos.NotAfter(w.goal) {
		w.end = w.pos // nothing is copied yet; w.goal may be more than a ring ahead
	}
	if r.err = r.check(w.pos, w.end); r.err != nil {
		r.excuse()
		r.leave()
		return false
	}
	return true
}

// check returns an error if pos and end cannot enclose records. One check serves a whole pass,
// which advances by multiples of 8 and not beyond end.
func (r *Reader) check(pos, end ring.Pos) error {
	if pos.Aligned() && end.Aligned() && uint64(end-pos) <= r.mem.Size() {
		return nil
	}
	return r.corrupt("consumer position %d and producer position %d are inconsistent in a ring of %d bytes", pos, end, r.mem.Size())
}

// corrupt returns an error matching ErrCorrupt, or ErrBusy if the ring was stolen: to a robbed
// Reader the ring looks corrupt once the new holder has published.
func (r *Reader) corrupt(format string, args ...any) error {
	if err := r.stolen(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// resolve handles a record at w.pos that Pass cannot hand out at once. It publishes, skips
// discarded records, and detects a BUSY record, the end of the pass, or an inconsistent header. It
// returns true if there is a record to hand out at w.pos, of w.length bytes.
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
				r.excuse()
				return false
			}
			continue
		}
		header := w.data.Header(w.pos)
		state := header.State(ring.Kernel)
		if state == ring.Busy {
			r.busy.seen(w.pos)
			return false
		}
		span, rest := ring.Span(header.Len()), uint64(w.end-w.pos)
		if span > rest {
			if r.recopy(w, span) {
				continue
			}
			r.err = r.corrupt("record of %d bytes at position %d ends after the producer position %d", header.Len(), w.pos, w.goal)
			r.excuse()
			return false
		}
		if state == ring.Discarded {
			if w.direct && r.contested() {
				return false
			}
			r.counts.discarded.Add(1)
			w.pos, w.last = w.pos+ring.Pos(span), span
			continue
		}
		batch := r.mem.Size() / 8
		if uint64(w.pos-r.published)+span > batch {
			if r.err = r.publish(0); r.err != nil {
				return false
			}
			if r.pos != w.pos { // a rival has consumed this record
				w.pos, w.last = r.pos, 0
				w.end = ring.Later(w.end, w.pos)
				continue
			}
		}
		w.length = header.Len()
		w.pause = min(rest, max(batch-uint64(w.pos-r.published), span))
		return true
	}
}

// advance adds what the loop has consumed to the counters, and stores the new position.
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

// setPos stores the position of the next record, which Stats loads.
func (r *Reader) setPos(pos ring.Pos) { order.StoreRelease((*uint64)(&r.pos), uint64(pos)) }

// end ends a pass. It publishes what was consumed; with Coalesce, it holds back the last record.
func (r *Reader) end(w *walk) {
	if w.id == r.pass {
		r.advance(w)
		if r.err == nil {
			r.err = r.publish(r.hold())
		}
	}
	r.leave()
}

// hold returns how many bytes Coalesce holds back from the producer: those of the last record, or
// none if it is longer than an eighth of the ring. More bytes would look like a backlog to
// producers that wake their consumer when a certain amount is unread.
func (r *Reader) hold() uint64 {
	if r.opts.Coalesce <= 0 || r.lastSpan > r.mem.Size()/8 {
		return 0
	}
	return min(r.lastSpan, uint64(r.pos-r.published))
}
