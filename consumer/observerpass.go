package consumer

import (
	"fmt"
	"iter"
	"math"

	"github.com/rbtool/rbtool/internal/ring"
)

// observeChunk is how many bytes are copied at a time, unless a record is
// longer: few enough that the producer writes little meanwhile.
const observeChunk = 64 << 10

// Pass returns an iterator over the records that are in the ring when the loop
// begins, at most limit of them, or all when limit is zero. Their data is a copy,
// which the loop body may keep until it ends. It ends early at a record that is
// still BUSY; discarded records are skipped. It does not wait: see [Observer.Wait].
//
// Leaving the loop at a record makes the next pass begin with it again, if it
// can then still be read.
//
// When the loop is over, [Observer.Err] tells whether an error ended it. A pass
// that is begun in the loop body takes over; the body must leave the loop then.
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
func (o *Observer) begin(goal uint64) bool {
	o.rests, o.err = false, nil
	if o.pos%8 != 0 || goal%8 != 0 || int64(goal-o.pos) < 0 {
		o.err = fmt.Errorf("%w: observed up to position %d, producer position %d", ErrCorrupt, o.pos, goal)
		return false
	}
	return true
}

// observation is one pass.
type observation struct {
	*Observer
	id   uint64
	goal uint64 // producer_pos when the pass began
	end  uint64 // where the copy ends
	left uint64 // records until the limit
	data ring.Data
	did  ObserverStats // since the last note
}

// resyncs is how often a pass looks for a place to go on, before it leaves
// that to the next: with a small ring under a flood it may take some tries.
const resyncs = 8

// copy copies what is at o.pos, and proves it. It returns false when there is nothing
// more to read in this pass.
func (w *observation) copy() bool {
	o := w.Observer
	for range resyncs {
		if w.left == 0 {
			return false
		}
		if int64(w.goal-o.pos) <= 0 {
			o.rests = true
			return false
		}
		if n := min(w.goal-o.pos, max(observeChunk, o.want)); n <= o.mem.Size() {
			buf := o.alloc(n)
			o.mem.Data().Read(buf, o.pos)
			if int64(o.proven()-o.pos) <= 0 {
				w.data, w.end, o.want = ring.Copy(buf, o.pos), o.pos+n, 0
				return true
			}
		}
		if !w.resync() {
			return false
		}
	}
	return false
}

// alloc returns n bytes to copy to, a multiple of 8 and no more than the ring's size.
func (o *Observer) alloc(n uint64) []byte {
	if n > uint64(len(o.buf)) {
		o.buf = make([]byte, n, n+ring.CopySlack)
	}
	return o.buf[:n]
}

// resync goes on at the head of the ring when the producer has written over what
// is at o.pos: that is where a record begins.
func (w *observation) resync() bool {
	o := w.Observer
	// A producer never leaves more than a ring's size behind it unconsumed, so the
	// head loaded after producer_pos is less than that behind it; and it is no later
	// than what producer_pos is after that.
	before := o.mem.ProducerPos()
	head := o.head()
	after := o.mem.ProducerPos()
	if head%8 != 0 || int64(head-o.pos) <= 0 || int64(before-head) > int64(o.mem.Size()) || int64(after-head) < 0 {
		o.err = fmt.Errorf("%w: observed up to position %d, consumer position %d, producer position %d, ring of %d bytes",
			ErrCorrupt, o.pos, head, after, o.mem.Size())
		return false
	}
	w.did.Lost += head - o.pos
	w.did.Losses++
	o.pos, o.want = head, 0
	w.note()
	return true
}

// walk hands out what was copied. It returns false when the pass is over.
func (w *observation) walk(yield func(Record) bool) bool {
	o := w.Observer
	for o.pos != w.end && w.left > 0 {
		header := w.data.Header(o.pos)
		span, rest := ring.Span(header.Len()), w.end-o.pos
		discarded := header.Discarded()
		if header.Busy() && !(discarded && o.user) { // the kernel looks at DISCARD first, in __bpf_user_ringbuf_peek
			o.rests = true
			return false
		}
		if span > rest {
			if span > w.goal-o.pos {
				o.err = fmt.Errorf("%w: record of %d bytes at position %d, producer position %d",
					ErrCorrupt, header.Len(), o.pos, w.goal)
				return false
			}
			o.want = span
			break
		}
		if !discarded {
			if !yield(Record{Data: w.data.Payload(o.pos, header.Len()), Pos: o.pos}) || w.id != o.pass {
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
		o.pos += span
	}
	w.note()
	return true
}

// note brings the Observer's counters up to date.
func (w *observation) note() {
	if w.id != w.pass {
		return // another pass took over
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s, d := &w.stats, &w.did
	s.Pos = w.pos
	s.Seen += d.Seen
	s.Skipped += d.Skipped
	s.Lost += d.Lost
	s.Records += d.Records
	s.Bytes += d.Bytes
	s.Discarded += d.Discarded
	s.Losses += d.Losses
	*d = ObserverStats{}
}
