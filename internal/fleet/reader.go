package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/stream"
)

// Selection says which batches of a stream a Reader reads. The zero value selects all.
type Selection struct {
	Host, Ring string    // of one host, and of rings of one name; "" for all
	Since      time.Time // that were stored since then
	New        bool      // that are stored from now on
}

// Reader is a [stream.Source] of the records in a stream: of all rings of all hosts, in the order in which the batches were
// stored. It has no end. A batch that is not encoded raw is counted and left out.
type Reader struct {
	// Ring is called for each batch before its first record, and says which number its records have as Record.Ring.
	Ring func(b *Batch) (int, error)

	Others   uint64 // batches that are not encoded raw
	Foreign  uint64 // messages that are not batches
	Dropped  uint64 // records that forwarders dropped
	Gaps     uint64 // places in which batches of a ring do not join
	messages jetstream.MessagesContext
	batch    *Batch
	number   int
	next     func() (Record, error, bool)
	stop     func()
	current  Record
	waiting  bool // current was not passed on yet
	ends     map[Identity]uint64
	totals   stream.Totals
	err      error
}

// Read returns a Reader of a stream. The caller sets its Ring, and calls Close before that of j.
func (j *JetStream) Read(ctx context.Context, s Selection) (*Reader, error) {
	subject := j.address.Stream
	for _, name := range []string{s.Host, s.Ring} {
		if name == "" {
			subject += ".*"
		} else {
			subject += "." + token(name)
		}
	}
	config := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverAllPolicy}
	switch {
	case s.New:
		config.DeliverPolicy = jetstream.DeliverNewPolicy
	case !s.Since.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Since
	}
	timed, stop := j.attempt(ctx)
	defer stop()
	c, err := j.stream.OrderedConsumer(timed, config)
	var m jetstream.MessagesContext
	if err == nil {
		m, err = c.Messages()
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %s: %w", j.address.Stream, plain(err), ErrRefused)
	}
	return &Reader{messages: m, ends: map[Identity]uint64{}}, nil
}

// Wait implements [stream.Source].
func (r *Reader) Wait(ctx context.Context) error {
	for !r.waiting {
		if r.err != nil {
			return r.err
		}
		if r.next != nil {
			if r.err = r.advance(); r.err != nil || r.waiting {
				continue
			}
		}
		msg, err := r.messages.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return fmt.Errorf("read stream: %w", os.ErrClosed)
		case errors.Is(err, jetstream.ErrNoHeartbeat), errors.Is(err, jetstream.ErrServerShutdown):
			continue // the consumer is made anew behind the last message
		case err != nil:
			return fmt.Errorf("read stream: %w", err)
		}
		r.err = r.begin(msg)
	}
	return nil
}

// begin begins with the batch in a message.
func (r *Reader) begin(msg jetstream.Msg) error {
	b, err := ParseBatch(msg.Headers().Get, msg.Data())
	if err != nil {
		r.Foreign++
		return nil
	}
	id := b.Identity
	if end, ok := r.ends[id]; ok && end != b.From {
		r.Gaps++
	}
	r.ends[id] = b.To
	r.Dropped += b.Dropped
	r.totals.Discarded += b.Discarded
	r.totals.Lost += b.Lost
	if b.Lost > 0 {
		r.totals.Losses++
	}
	if b.Encoding != Raw {
		r.Others++
		return nil
	}
	if b.Records == 0 {
		return nil
	}
	if r.number, err = r.Ring(b); err != nil {
		return err
	}
	r.batch = b
	r.next, r.stop = iter.Pull2(b.All())
	return nil
}

// advance takes the next record of the batch, if there is one.
func (r *Reader) advance() error {
	rec, err, ok := r.next()
	if !ok || err != nil {
		r.stop()
		r.next = nil
	}
	if err != nil {
		return fmt.Errorf("batch of ring %s of host %s: %w", r.batch.Ring, r.batch.Host, err)
	}
	r.current, r.waiting = rec, ok
	return nil
}

// Pass implements [stream.Source]: it yields the rest of a batch.
func (r *Reader) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		for n := 0; r.waiting && (limit == 0 || n < limit); n++ {
			if !yield(consumer.Record{Ring: r.number, Pos: r.current.Pos, Data: r.current.Data}) {
				return
			}
			r.totals.Records++
			r.totals.Bytes += uint64(len(r.current.Data))
			r.totals.Pos = r.current.Pos + ring.Span(uint32(len(r.current.Data)))
			r.waiting = false
			if r.err = r.advance(); r.err != nil || !r.waiting {
				return
			}
		}
	}
}

// Batch returns the batch of the current record.
func (r *Reader) Batch() *Batch { return r.batch }

// Time returns when the current record of a pass was read from its ring.
func (r *Reader) Time() time.Time { return r.current.Time }

// Err implements [stream.Source]: Wait returns the errors.
func (r *Reader) Err() error { return nil }

// Totals implements [stream.Source].
func (r *Reader) Totals() stream.Totals { return r.totals }

// Close implements [stream.Source].
func (r *Reader) Close() error {
	if r.next != nil {
		r.stop()
	}
	r.messages.Stop()
	return nil
}
