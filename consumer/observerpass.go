package consumer

import (
	"fmt"
	"iter"
	"math"

	"github.com/rbtool/rbtool/internal/ring"
)

// Pass returns an iterator over the records that are in the ring when the loop begins, at most
// limit of them, or all if limit is zero. Their data is a copy that is valid until the loop body
// ends. Pass skips discarded records and ends early at a BUSY record. It does not wait: see
// [Observer.Wait].
//
// If the loop is left at a record, the next pass begins with that record, unless it is lost by
// then.
//
// After the loop, [Observer.Err] returns the error that ended it early, if any. If the loop body
// begins another pass, that pass takes over, and the body must then leave its loop.
func (o *Observer) Pass(limit int) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		if !o.enter() {
			return
		}
		defer o.leave()
		o.pass++
		w := observation{Observer: o, id: o.pass, left: math.MaxUint64, goal: o.mem.ProducerPos()}
		if limit > 0 {
			w.left = uint64(limit)
		}
		defer w.note()
		if o.begin(w.goal) {
			for w.copy() && w.walk(yield) {
			}
		}
	}
}

// begin starts a pass up to goal.
func (o *Observer) begin(goal ring.Pos) bool {
	o.rests, o.err = false, nil
	if !o.pos.Aligned() || !goal.Aligned() || !o.pos.NotAfter(goal) {
		o.err = fmt.Errorf("%w: producer position %d is inconsistent: observed up to position %d", ErrCorrupt, goal, o.pos)
		return false
	}
	return true
}

// observation is one pass.
type observation struct {
	*Observer
	id   uint64
	goal ring.Pos // producer_pos when the pass began
	end  ring.Pos // where the copy ends
	left uint64   // records until the limit
	data ring.Data
	did  ObserverStats // counted by this pass since its last note
}

// resyncs is how often one pass resynchronises at most. Reading a small ring under a flood may take
// several attempts; the next pass continues.
const resyncs = 8

// copy makes a proven copy of the records at o.pos. It returns false if this pass has nothing more
// to read.
func (w *observation) copy() bool {
	o := w.Observer
	for range resyncs {
		if w.left == 0 {
			return false
		}
		if !o.pos.Before(w.goal) {
			o.rests = true
			return false
		}
		if data, end, ok := o.buf.rest(o.pos, o.kind); ok && o.shown().NotAfter(o.pos) {
			w.data, w.end = data, end
			return true
		}
		if min(uint64(w.goal-o.pos), max(copyPass, o.buf.want)) <= o.mem.Size() {
			var proven ring.Pos
			w.data, w.end, proven = o.buf.take(o.mem.Data(), o.pos, w.goal, copyPass, o.proven)
			if proven == o.pos {
				o.buf.want = 0
				return true
			}
		}
		if !w.resync() {
			return false
		}
	}
	return false
}

// resync moves o.pos to the head of the ring, where a record begins, because the record at o.pos
// was overwritten.
func (w *observation) resync() bool {
	o := w.Observer
	// At most the size of the ring is unconsumed. So the head, loaded second, is at most that far
	// behind the producer_pos loaded first, and not past the producer_pos loaded third.
	before := o.mem.ProducerPos()
	head := o.head()
	after := o.mem.ProducerPos()
	if !head.Aligned() || !o.pos.Before(head) || head.To(before) > o.mem.Size() || !head.NotAfter(after) {
		o.err = fmt.Errorf("%w: positions are inconsistent: observed up to %d, consumer position %d, producer position %d, ring of %d bytes",
			ErrCorrupt, o.pos, head, after, o.mem.Size())
		return false
	}
	w.did.Lost += uint64(head - o.pos)
	w.did.Losses++
	o.pos, o.buf.want = head, 0
	w.note()
	return true
}

// walk hands out the copied records. It returns false when the pass is over.
func (w *observation) walk(yield func(Record) bool) bool {
	o := w.Observer
	for o.pos != w.end && w.left > 0 {
		header := w.data.Header(o.pos)
		span, rest := ring.Span(header.Len()), uint64(w.end-o.pos)
		state := header.State(o.kind)
		if state == ring.Busy {
			o.rests = true
			return false
		}
		if span > rest {
			if span > uint64(w.goal-o.pos) {
				o.err = fmt.Errorf("%w: record of %d bytes at position %d ends after the producer position %d",
					ErrCorrupt, header.Len(), o.pos, w.goal)
				return false
			}
			o.buf.want = span
			break
		}
		if state == ring.Committed {
			if !yield(Record{Data: w.data.Payload(o.pos, header.Len()), Pos: uint64(o.pos)}) || w.id != o.pass {
				return false
			}
			w.did.Records++
			w.did.Bytes += uint64(header.Len())
			w.did.Seen += span
			w.left--
		} else {
			w.did.Discarded++
			w.did.Skipped += span
		}
		o.pos += ring.Pos(span)
	}
	w.note()
	return true
}

// note adds the counters of the pass to the Observer's.
func (w *observation) note() {
	if w.id != w.pass {
		return // another pass has taken over
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s, d := &w.stats, &w.did
	s.Pos = uint64(w.pos)
	s.Seen += d.Seen
	s.Skipped += d.Skipped
	s.Lost += d.Lost
	s.Records += d.Records
	s.Bytes += d.Bytes
	s.Discarded += d.Discarded
	s.Losses += d.Losses
	*d = ObserverStats{}
}
