package consumer

import (
	"context"
	"iter"

	"github.com/rbtool/rbtool/internal/ring"
)

// Records returns an iterator that waits for records and yields them without
// copying, as [Reader.Pass] does, until ctx is done, Close, or an error, which it
// yields last. Going on to the next record consumes the one before; leaving
// the loop at a record does not.
func (r *Reader) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			if err := r.Wait(ctx); err != nil {
				yield(Record{}, err)
				return
			}
			for rec := range r.Pass(0) {
				if !yield(rec, nil) {
					return
				}
			}
			if r.err != nil {
				yield(Record{}, r.err)
				return
			}
		}
	}
}

// Read waits for the next record and returns a copy of it, which the caller
// owns. The record is consumed, but the kernel is told by a later call, once
// an eighth of the ring was read or nothing more can be, or by Close: a process
// that is killed gets its last records again.
func (r *Reader) Read(ctx context.Context) (Record, error) {
	var rec Record
	err := r.ReadInto(ctx, &rec)
	return rec, err
}

// ReadInto is as [Reader.Read], but copies into the memory of rec.Data, and
// allocates only when the record does not fit into its capacity. It is for a rec
// that is used again and again; rec.Data must not be that of a Record of a pass,
// which lies in the ring. After an error rec is as it was; after [ErrBusy] the bytes in
// rec.Data may have changed.
func (r *Reader) ReadInto(ctx context.Context, rec *Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		if r.take(rec) || r.err != nil {
			return r.err
		}
		if err := r.Wait(ctx); err != nil {
			return err
		}
	}
}

// take consumes one record and copies it to rec. It returns false when there is
// none or r.err says what is wrong. It publishes only what the next record needs.
func (r *Reader) take(rec *Record) bool {
	if !r.enter() {
		return false
	}
	found := r.takeNext(rec)
	r.leave()
	return found || r.takeAny(rec)
}

// takeNext is take for the most frequent case: a committed record at r.pos, and
// nothing else to do. What it counts shows in the counters at the next publication or
// pass.
func (r *Reader) takeNext(rec *Record) bool {
	end, data := r.mem.ProducerPos(), r.mem.Data()
	if r.copies() || r.pos == end || r.check(r.pos, end) != nil {
		return false
	}
	length := uint32(data.Header(r.pos))
	span := ring.Span(length)
	// A flag bit in length makes it longer than an eighth of any ring.
	if span > end-r.pos || r.pos-r.published+span > r.mem.Size()/8 {
		return false
	}
	copied := append(rec.Data[:0], data.Payload(r.pos, length)...)
	if !r.holds() { // a thief may have let the producer write over the record
		return false
	}
	rec.Data, rec.Pos = copied, r.pos
	r.pass++
	r.err = nil
	r.pos, r.lastSpan = r.pos+span, span
	r.taken.records++
	r.taken.bytes += uint64(length)
	return true
}

// takeAny is take for all other cases.
func (r *Reader) takeAny(rec *Record) (found bool) {
	var w walk
	if !r.begin(&w, 1) {
		return false
	}
	defer r.leave()
	if found = r.resolve(&w); found {
		copied := append(rec.Data[:0], w.data.Payload(w.pos, w.length)...)
		if r.err = r.stolen(); r.err != nil {
			return false
		}
		span := ring.Span(w.length)
		rec.Data, rec.Pos = copied, w.pos
		w.set(span, span, 0, uint64(w.length))
	}
	r.advance(&w) // also over what was skipped to find none
	return found
}
