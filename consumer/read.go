package consumer

import (
	"bytes"
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
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	for {
		if rec, found := r.take(); found || r.err != nil {
			return rec, r.err
		}
		if err := r.Wait(ctx); err != nil {
			return Record{}, err
		}
	}
}

// take consumes one record and returns a copy of it, and false when there is
// none or r.err says what is wrong. It publishes only what the next record needs.
func (r *Reader) take() (rec Record, found bool) {
	var w walk
	if !r.begin(&w, 1) {
		return Record{}, false
	}
	defer r.leave()
	found = r.resolve(&w)
	if found {
		rec = Record{Data: bytes.Clone(w.data.Payload(w.pos, w.length)), Pos: w.pos}
		w.set(ring.Span(w.length), ring.Span(w.length), 0, uint64(w.length))
	}
	r.advance(&w) // also over what was skipped to find none
	return rec, found
}
