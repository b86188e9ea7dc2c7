package stream

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/filter"
)

// Record is a record on its way from a Source to a Sink. Its Data is valid until [Sink.Append] returns.
type Record struct {
	consumer.Record
	Seq  uint64 // number of the record in the source, from 1; the filter's rejects count too
	Time int64  // when the record was read from its ring, in nanoseconds since 1970; 0 if unknown
}

// Source yields the records of a ring or a capture. If the source has an end, Wait returns [io.EOF]
// after the last record.
type Source interface {
	consumer.Source

	// Totals returns the counts so far.
	Totals() Totals
}

// Totals counts what happened to the records of a source. Positions are byte positions in its ring.
type Totals struct {
	Records   uint64 // number of records that were read, if the source counts them
	Bytes     uint64 // bytes of their payload
	Discarded uint64 // number of records that their producers discarded
	Lost      uint64 // bytes of records, with headers, that were lost before they could be read
	Losses    uint64 // number of gaps in which they were lost, if the source counts gaps
	Pos       uint64 // position of the next record to read
	End       uint64 // position of the producer
}

// add adds the counts of another ring. A sum has no positions.
func (t *Totals) add(o Totals) {
	*t = Totals{
		Records: t.Records + o.Records, Bytes: t.Bytes + o.Bytes,
		Discarded: t.Discarded + o.Discarded, Lost: t.Lost + o.Lost, Losses: t.Losses + o.Losses,
	}
}

// Sink takes records in batches.
type Sink interface {
	// Append adds a record to the batch. It may wait until ctx is done. It must not retain rec.Data.
	Append(ctx context.Context, rec *Record) error

	// Flush ends the batch. When it returns nil, the sink can no longer lose these records, and the
	// source may release them. Flushing an empty batch is free.
	Flush() error
}

// Limits tell when a stream ends. The zero value has no limits.
type Limits struct {
	Records uint64        // after the sink has taken this many records
	For     time.Duration // this long after Run was called
	Idle    time.Duration // after this long without a record
}

// Stats counts the records of a stream.
type Stats struct {
	Seen  uint64 // number of records from the source
	Taken uint64 // number of records that passed the filter and were taken by the sink
	Bytes uint64 // bytes of payload in the records taken
}

// Stream joins a source to a sink.
type Stream struct {
	Source Source
	Sink   Sink
	Filter *filter.Filter // if nil, every record passes
	// Filters, if not nil, are the filters of several rings, by Record.Ring, instead of Filter.
	Filters []*filter.Filter
	Watch   func(consumer.Record) // if set, is called with every record, before the filter
	Limits  Limits

	// Batch is the maximum number of records between two flushes; 0 flushes after all that the source
	// has. If the process is killed, at most one batch is read a second time.
	Batch int

	rec   Record // the current record
	taken uint64 // number of records taken by the sink
	bytes uint64 // bytes of payload in the records taken
}

// Stats returns the counts so far. Call it from the goroutine that calls Run, or after Run.
func (s *Stream) Stats() Stats { return Stats{s.rec.Seq, s.taken, s.bytes} }

// Run moves records until a limit is reached or the source ends; then it returns nil. When ctx is done,
// it moves the records that the source still has, and returns ctx's error.
func (s *Stream) Run(ctx context.Context) error {
	limited := ctx
	if s.Limits.For > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, s.Limits.For)
		defer cancel()
	}
	for !s.full() {
		err := s.wait(limited)
		over := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
		if err == io.EOF {
			return nil
		}
		if err != nil && !over {
			return err
		}
		// Limits.For may be over before the first pass: still move the records that are already there.
		seen := s.rec.Seq
		if err := s.pass(ctx); err != nil {
			return err
		}
		if over && (limited.Err() != nil || s.rec.Seq == seen) {
			return ctx.Err()
		}
	}
	return nil
}

// full reports whether the sink has taken as many records as the limit allows.
func (s *Stream) full() bool { return s.Limits.Records > 0 && s.taken >= s.Limits.Records }

// wait waits for a record, for Limits.Idle at most if that is set.
func (s *Stream) wait(ctx context.Context) error {
	if s.Limits.Idle > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Limits.Idle)
		defer cancel()
	}
	return s.Source.Wait(ctx)
}

// pass moves one batch.
func (s *Stream) pass(ctx context.Context) error {
	timed, ok := s.Source.(interface{ Time() time.Time }) // a capture knows when its records were read
	if !ok {
		s.rec.Time = time.Now().UnixNano()
	}
	w, direct := s.Sink.(*Writer) // a direct call instead of one through the interface saves tail 3 ns per record
	keep := s.Filter
	for rec := range s.Source.Pass(s.Batch) {
		if s.full() {
			break // this record stays in the source
		}
		s.rec.Seq++
		if s.Watch != nil {
			s.Watch(rec)
		}
		if s.Filters != nil {
			keep = s.Filters[rec.Ring]
		}
		if keep != nil && !keep.Match(s.rec.Seq, rec.Pos, rec.Data) {
			continue
		}
		s.rec.Data, s.rec.Pos, s.rec.Ring = rec.Data, rec.Pos, rec.Ring
		if ok {
			s.rec.Time = timed.Time().UnixNano()
		}
		if direct {
			w.Buf = w.Format(w.Buf, &s.rec)
		} else if err := s.Sink.Append(ctx, &s.rec); err != nil {
			return err
		}
		s.taken++
		s.bytes += uint64(len(rec.Data))
	}
	if err := s.Source.Err(); err != nil {
		return err
	}
	return s.Sink.Flush()
}
