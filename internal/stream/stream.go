package stream

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/filter"
)

// Record is a record on its way. Its Data is valid until [Sink.Append] returns.
type Record struct {
	consumer.Record
	Seq uint64 // from 1; counts records of the source, including those that the filter leaves out
}

// Source yields the records of a ring or of a capture. Wait returns [io.EOF] after the last record of a source
// that has an end.
type Source interface {
	consumer.Source

	// Totals returns what has become of the source's bytes so far.
	Totals() Totals
}

// Totals counts the bytes of a source. Positions are those of its ring.
type Totals struct {
	Discarded uint64 // records that their producers discarded
	Lost      uint64 // bytes of records that could not be read, headers included
	Losses    uint64 // gaps that Lost is made of, if the source counts them
	Pos       uint64 // of the next record
	End       uint64 // of the producer
}

// Sink takes records in batches.
type Sink interface {
	// Append adds a record to the batch, and may wait until ctx is done. It does not retain rec.Data.
	Append(ctx context.Context, rec *Record) error

	// Flush ends the batch. It returns nil once none of its records can be lost, which acknowledges
	// their positions to the source. An empty batch costs nothing.
	Flush() error
}

// Limits end a stream. The zero value has none.
type Limits struct {
	Records uint64        // that the sink has taken
	For     time.Duration // since Run was called
	Idle    time.Duration // without a record
}

// Stats counts the records of a stream.
type Stats struct {
	Seen  uint64 // records from the source
	Taken uint64 // records that passed the filter into the sink
	Bytes uint64 // of payload in those
}

// Stream joins a source to a sink.
type Stream struct {
	Source Source
	Sink   Sink
	Filter *filter.Filter      // nil passes every record
	Watch  func(record []byte) // sees every record before the filter, unless nil
	Limits Limits

	// Batch is the most records between two flushes; 0 is all that the source has. After a kill
	// these are read again.
	Batch int

	rec   Record // the current one
	taken uint64 // by the sink
	bytes uint64 // of payload in those
}

// Stats returns the counts so far. Call it from the goroutine of Run, or after Run.
func (s *Stream) Stats() Stats { return Stats{s.rec.Seq, s.taken, s.bytes} }

// Run moves records until a limit is reached or the source ends, and then returns nil. When ctx is done it moves
// what the source has and returns ctx's error.
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
		// The time may be over before the first pass: records that are there still count.
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

// full reports whether the sink has taken all the records that it may.
func (s *Stream) full() bool { return s.Limits.Records > 0 && s.taken >= s.Limits.Records }

// wait waits for a record, for Limits.Idle at most.
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
	w, direct := s.Sink.(*Writer) // called without the interface, which saves tail 3 ns a record
	for rec := range s.Source.Pass(s.Batch) {
		if s.full() {
			break // leaves this record in the source
		}
		s.rec.Seq++
		if s.Watch != nil {
			s.Watch(rec.Data)
		}
		if s.Filter != nil && !s.Filter.Match(s.rec.Seq, rec.Pos, rec.Data) {
			continue
		}
		s.rec.Data, s.rec.Pos, s.rec.Ring = rec.Data, rec.Pos, rec.Ring
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
