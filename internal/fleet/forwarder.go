package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/stream"
)

// Forwarder is a [stream.Sink] that stores the records of rings in an engine. Set Watch as the Watch of the stream.
type Forwarder struct {
	Sink     Sink
	Encoding string // [Raw] or [JSON]
	Records  int    // maximum number of records in a batch
	// Full reports whether a ring has hardly room for more records. If Full is not nil, the Forwarder drops and counts
	// records when it must wait for the engine while their ring is full, and those that are too large for the engine. If it is nil,
	// it waits, and a record that is too large is an error.
	Full func(ring int) bool

	Stored  atomic.Uint64 // records that the engine has acknowledged
	Dropped atomic.Uint64 // records that were dropped

	writer uint64
	lanes  []*lane // by Record.Ring; nil if there is no such ring
	ctx    context.Context
	cancel context.CancelFunc
}

// Ring is a ring whose records are stored.
type Ring struct {
	Identity
	Totals func() stream.Totals
	Types  string         // content hash of the types, for [Batch]
	Clocks capture.Clocks // for [Batch]
	Format stream.Format  // of records in JSON
}

// lane is what a Forwarder knows of a ring.
type lane struct {
	Ring
	place  Place
	from   uint64        // position up to which batches cover the ring
	to     uint64        // position after the last record
	seen   uint64        // records since the last batch, also those that the filter leaves out
	told   stream.Totals // discarded and lost records that batches tell
	owed   *Batch        // what was dropped since the last batch
	queue  []*Batch      // complete, the oldest first
	open   *Batch        // that gets the next record, or nil
	cursor rawCursor     // of open
	spare  []byte        // memory for a body
	err    error         // of Fail
}

// grace is how long Flush still waits for the engine when the context of Start is done.
const grace = 2 * time.Second

// Start begins to forward. When ctx is done, Flush gives up after two seconds. The caller calls Close.
func (f *Forwarder) Start(ctx context.Context) {
	f.writer = random()
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ended := f.cancel
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, ended) })
}

// Add adds a ring with the index i. It returns the position after the last record that is stored, if that is in the ring or
// behind its end: the stream must skip records before it. Otherwise it returns the ring's own position.
func (f *Forwarder) Add(i int, r Ring) (resume uint64, err error) {
	place, err := f.Sink.Open(f.ctx, r.Identity)
	if err != nil {
		return 0, err
	}
	t := r.Totals()
	resume = t.Pos
	last := place.Stored()
	if last != nil && last.Machine != r.Machine {
		return 0, fmt.Errorf("%w: ring %s of a host %s with machine id %s has its subject", ErrFenced, r.Identity.Ring, last.Host, last.Machine)
	}
	if last != nil && last.Same(r.Identity) && ring.Pos(last.To).NotAfter(ring.Pos(t.End)) && ring.Pos(resume).Before(ring.Pos(last.To)) {
		resume = last.To
	}
	f.set(i, &lane{Ring: r, place: place, from: resume, to: resume, told: t})
	return resume, nil
}

// Fail makes Append and Flush fail with err as soon as the ring with the index i has records, for a ring that Add could not add.
func (f *Forwarder) Fail(i int, err error) { f.set(i, &lane{err: err}) }

func (f *Forwarder) set(i int, l *lane) {
	for i >= len(f.lanes) {
		f.lanes = append(f.lanes, nil)
	}
	f.lanes[i] = l
}

// Watch counts a record, before the filter.
func (f *Forwarder) Watch(rec consumer.Record) {
	l := f.lanes[rec.Ring]
	l.seen++
	l.to = rec.Pos + ring.Span(uint32(len(rec.Data)))
}

// Append implements [stream.Sink].
func (f *Forwarder) Append(_ context.Context, rec *stream.Record) error {
	l := f.lanes[rec.Ring]
	if l.err != nil {
		return l.err
	}
	if l.open != nil && l.open.Records >= uint64(f.Records) {
		l.seal(rec.Pos, 1)
	}
	for {
		f.begin(l, rec)
		before, cursor := len(l.open.Body), l.cursor
		if f.Encoding == JSON {
			l.open.Body = l.Format(l.open.Body, rec)
		} else {
			l.open.Body = l.cursor.append(l.open.Body, rec.Pos, rec.Time, rec.Data)
		}
		if l.open.Records == 0 || len(l.open.Body) <= l.place.Limit() {
			break
		}
		l.open.Body, l.cursor = l.open.Body[:before], cursor
		l.seal(rec.Pos, 1)
	}
	l.open.Records++
	l.open.Bytes += uint64(len(rec.Data))
	l.open.Last = rec.Pos
	return nil
}

// begin begins a batch with rec, unless there is one.
func (f *Forwarder) begin(l *lane, rec *stream.Record) {
	if l.open != nil {
		return
	}
	l.open = l.batch(f)
	l.open.First, l.open.Time = rec.Pos, time.Unix(0, rec.Time)
	l.cursor = rawCursor{rec.Pos, rec.Time}
}

// batch returns a batch without records.
func (l *lane) batch(f *Forwarder) *Batch {
	b := &Batch{Identity: l.Identity, Writer: f.writer, Encoding: f.Encoding, Types: l.Types, Clocks: l.Clocks, Time: time.Now(), Body: l.spare[:0]}
	l.spare = nil
	return b
}

// seal completes the open batch, which covers the ring up to a position. The last later records that the lane has seen are behind it.
func (l *lane) seal(to, later uint64) {
	b := l.open
	b.From, b.To = l.from, to
	b.Filtered = l.seen - later - b.Records
	l.from, l.seen, l.open = to, later, nil
	l.queue = append(l.queue, b)
}

// complete seals the open batch with all that has happened to the ring.
func (l *lane) complete() {
	t := l.Totals()
	l.open.Discarded, l.open.Lost = t.Discarded-l.told.Discarded, t.Lost-l.told.Lost
	l.told = t
	l.seal(l.to, 0)
}

// Flush implements [stream.Sink]. It returns nil when the engine has acknowledged all records, or the Forwarder has dropped
// them.
func (f *Forwarder) Flush() error {
	var busy []int
	for i, l := range f.lanes {
		if l == nil {
			continue
		}
		if l.err != nil {
			return l.err
		}
		if l.open != nil {
			l.complete()
		}
		if len(l.queue) > 0 {
			busy = append(busy, i)
		}
	}
	switch len(busy) {
	case 0:
		return nil
	case 1:
		return f.storeAll(busy[0])
	}
	errs := make([]error, len(busy))
	var all sync.WaitGroup
	for n, i := range busy {
		all.Go(func() { errs[n] = f.storeAll(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// storeAll stores the complete batches of a ring.
func (f *Forwarder) storeAll(i int) error {
	l := f.lanes[i]
	for len(l.queue) > 0 {
		b := l.queue[0]
		if l.owed != nil {
			b.absorb(l.owed)
			l.owed = nil
		}
		dropped, err := f.store(i, b)
		if err != nil {
			return err
		}
		if dropped {
			f.Dropped.Add(b.Records)
			l.owed = b.withoutBody()
		} else {
			f.Stored.Add(b.Records)
		}
		l.spare = b.Body
		l.queue = slices.Delete(l.queue, 0, 1)
	}
	return nil
}

// End stores what has happened to a ring since the last batch, and forgets the ring.
func (f *Forwarder) End(i int) error {
	l := f.lanes[i]
	if l == nil || l.err != nil {
		return nil
	}
	t := l.Totals()
	if l.open == nil && (l.to != l.from || l.owed != nil || t.Discarded != l.told.Discarded || t.Lost != l.told.Lost) {
		l.open = l.batch(f)
	}
	if l.open != nil {
		l.complete()
	}
	err := f.storeAll(i)
	f.lanes[i] = nil
	return err
}

// Close ends all rings. It does not close the Sink.
func (f *Forwarder) Close() (err error) {
	for i := range f.lanes {
		err = errors.Join(err, f.End(i))
	}
	f.cancel()
	return err
}
