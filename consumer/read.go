package consumer

import (
	"context"
	"errors"
	"iter"

	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/ring"
)

// Records returns an iterator that waits for records and yields them as [Reader.Pass] does. Moving
// on to the next record consumes the previous record. A record at which the loop is left is not
// consumed.
//
// An error ends the iteration and is yielded last, with a zero Record: the error of ctx when ctx is
// done, which is checked between passes; one matching [os.ErrClosed] after Close; or an error of
// [Reader.Err].
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

// ErrEmpty means that no record is ready: the ring is empty, or its next record is not committed.
var ErrEmpty = errors.New("no record is ready")

// Read waits for the next record and returns a copy of it, which the caller owns. If a record is
// ready, Read returns it even if ctx is done.
//
// Read consumes the record, but does not publish that at once. Later calls publish: whenever an
// eighth of the ring was read, and when no record is ready. Close publishes too. If the process is
// killed before, its successor gets the last records again.
//
// The error is that of ctx, matches [os.ErrClosed] after Close, or is one of [Reader.Err].
func (r *Reader) Read(ctx context.Context) (Record, error) {
	var rec Record
	err := r.ReadInto(ctx, &rec)
	return rec, err
}

// TryRead is [Reader.Read] without waiting: the error matches [ErrEmpty] if no record is ready.
func (r *Reader) TryRead() (Record, error) {
	var rec Record
	if r.take(&rec) || r.err != nil {
		return rec, r.err
	}
	if !r.enter() {
		return rec, r.err
	}
	defer r.leave()
	if err := r.publish(r.hold()); err != nil {
		return rec, err
	}
	return rec, ErrEmpty
}

// ReadInto is [Reader.Read] into the memory of rec.Data, and sets all fields of rec. It allocates
// only if the record exceeds the capacity. rec.Data must not come from a pass, whose records may
// lie in the ring. An error leaves the fields of rec unchanged, but if the ring was stolen or is
// shared, the bytes in rec.Data may have been overwritten.
func (r *Reader) ReadInto(ctx context.Context, rec *Record) error {
	for {
		if r.take(rec) {
			return nil
		}
		if r.err != nil {
			return r.err
		}
		if err := r.Wait(ctx); err != nil {
			// A record may have been committed without a wakeup.
			if ctx.Err() != nil && r.take(rec) {
				return nil
			}
			return err
		}
	}
}

// Remaining returns how many bytes of records, headers included, followed the last record of
// [Reader.Read], [Reader.TryRead] or [Reader.ReadInto] when it was read. Call it only from the
// reading goroutine.
func (r *Reader) Remaining() uint64 { return r.pos.To(r.seen) }

// take consumes one record and copies it to rec. It returns false if no record is ready, or after
// an error, which is then in r.err.
func (r *Reader) take(rec *Record) bool {
	if !r.lease.Enter() { // not enter, which is not inlined
		r.refuse()
		return false
	}
	r.adopt()
	found := r.takeNext(rec)
	if found && r.opts.Shared { // not in share, which is not inlined
		r.share()
	}
	if r.lease.Leave() {
		r.unmap()
	}
	// What was contested is taken from a copy.
	return found || r.takeAny(rec, r.direct()) || r.opts.Shared && r.err == nil && r.takeAny(rec, false)
}

// takeNext is take for the frequent case: a committed record is at r.pos, and nothing else is to be
// done. It counts the record in r.taken, which the next publication or pass adds to the counters.
func (r *Reader) takeNext(rec *Record) bool {
	end, data := r.mem.ProducerPos(), r.mem.Data()
	rest := uint64(end - r.pos)
	if !r.direct() || rest == 0 || rest > r.mem.Size() || !r.pos.Aligned() || !end.Aligned() {
		return false
	}
	length := uint32(data.Header(r.pos))
	span := ring.Span(length)
	// With a flag bit set, length is greater than an eighth of any ring.
	if span > rest || uint64(r.pos-r.published)+span > r.mem.Size()/8 {
		return false
	}
	copied := append(rec.Data[:0], data.Payload(r.pos, length)...)
	order.LoadBarrier()              // litmus copy-robbed, copy-consumed
	if !r.holds() || r.contested() { // if so, the producer may have overwritten the record
		return false
	}
	rec.Data, rec.Pos, rec.Ring = copied, uint64(r.pos), 0
	r.pass++
	if r.err != nil { // a store of nil would cost a write barrier
		r.err = nil
	}
	r.seen, r.lastSpan = end, span
	r.setPos(r.pos + ring.Pos(span))
	r.taken.records++
	r.taken.bytes += uint64(length)
	return true
}

// takeAny is take for all other cases. If direct is true, it copies the record from the ring
// itself, and takes no record if the ring is contested.
func (r *Reader) takeAny(rec *Record, direct bool) (found bool) {
	w := walk{direct: direct}
	if !r.begin(&w, 1) {
		return false
	}
	defer r.leave()
	if found = r.resolve(&w); found {
		copied := append(rec.Data[:0], w.data.Payload(w.pos, w.length)...)
		order.LoadBarrier() // litmus copy-robbed, copy-consumed
		if r.err = r.stolen(); r.err != nil || direct && r.contested() {
			return false
		}
		span := ring.Span(w.length)
		rec.Data, rec.Pos, rec.Ring = copied, uint64(w.pos), 0
		w.set(span, span, 0, uint64(w.length))
	}
	r.advance(&w) // even if it only skipped discarded records
	if r.err == nil {
		r.share()
	}
	return found
}
