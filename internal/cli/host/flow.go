package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
	"github.com/rbtool/rbtool/metrics"
)

// ringFlow is the flow through a ring while inspect --for watched it.
type ringFlow struct {
	inspect.Flow // its rates are over the whole time

	watched time.Duration
	// recordRate is in records per second. It counts discarded records, but no records that were
	// overwritten before they could be read.
	recordRate float64
	unread     uint64 // bytes of records that were overwritten before they were read
	advice     string // what would help the ring, or ""

	drops  *drops.Ring     // what was counted with --drops, or nil
	drains *metrics.Drains // of a user ring, with --drops, or nil
	fault  error           // why the records could not be read to the end, or nil
}

// watchedJSON has the members that inspect --for adds to flowJSON.
type watchedJSON struct {
	Watched    float64 `json:"watched_seconds"`
	RecordRate float64 `json:"records_per_second"`
	Unread     uint64  `json:"unread_bytes"`
	// Refused is what the producers of a user ring refused in this time.
	Refused *command.RefusedJSON `json:"watched_refused,omitempty"`
	Drains  *command.DrainsJSON  `json:"drains,omitempty"`
	Advice  string               `json:"advice,omitempty"`
}

func (f *ringFlow) json() *watchedJSON {
	if f == nil {
		return nil
	}
	return &watchedJSON{f.watched.Seconds(), f.recordRate, f.unread, command.JSONRefused(f.Refused), (*command.DrainsJSON)(f.drains), f.advice}
}

// watchFlow watches the ring m for a duration: it samples the positions, as top does, and reads the
// records as an observer. With --drops it counts failed reservations, and prints to stderr what that costs.
func (o *inspectOptions) watchFlow(ctx context.Context, stderr io.Writer, m *ebpf.Map) (_ *ringFlow, err error) {
	duration := time.Duration(o.watch)
	if m.Type() == ebpf.Arena {
		return nil, errors.New("--for does not go with an arena: nothing flows through it")
	}
	info, err := m.Info()
	if err != nil {
		return nil, err
	}
	id, _ := info.ID()
	s := inspect.NewSampler(inspect.SamplerOptions{
		Options: inspect.Options{SkipPrograms: true, SkipPins: true}, StuckAfter: min(duration/2, time.Second/2),
	})
	defer s.Close()
	losses, err := o.watchLosses(stderr, m, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, losses.Close()) }()
	// Take a sample before the watch begins: the first one takes longest, since it loads the iterators.
	if _, err := flowOf(s, id); err != nil {
		return nil, err
	}
	records, err := stream.Observe(m, consumer.ObserverOptions{Now: true})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	from, _ := records.Stats()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var observing sync.WaitGroup
	var fault, observed, counted error
	shape := drops.NewShape(uint64(m.MaxEntries()))
	observing.Go(func() { fault, observed = follow(reading, records, shape) })
	observing.Go(func() { counted = losses.follow(reading) })
	last, err := sampleFor(ctx, s, id, duration)
	stop()
	observing.Wait()
	to, _ := records.Stats()
	watched := time.Since(began)
	if err = errors.Join(err, observed, counted, records.Close()); err != nil {
		return nil, err
	}
	// The samples began before the observer. All rates are per second of the observer's time.
	last.Saturated = min(last.Saturated, watched)
	perSecond := func(n uint64) float64 { return float64(n) / watched.Seconds() }
	last.ProducedRate = perSecond(advance(from.Start, to.ProducerPos))
	last.ConsumedRate = perSecond(advance(from.ConsumerPos, to.ConsumerPos))
	f := &ringFlow{
		Flow: *last, watched: watched,
		recordRate: perSecond(to.Records + to.Discarded), unread: to.Lost,
		drops: losses.ring(), drains: losses.drained(), advice: losses.advice(), fault: fault,
	}
	if m.Type() == ebpf.RingBuf && !o.drops {
		f.advise(id, &drops.Advice{Tails: shape.Tails(), Records: to.Records, Discarded: to.Discarded, Seen: to.Seen, Skipped: to.Skipped})
	}
	return f, nil
}

// advise sets the advice for a RINGBUF, of whose records a is known.
func (f *ringFlow) advise(id ebpf.MapID, a *drops.Advice) {
	f.advice = command.AdviseRecords(a)
	if f.Saturated > 0 && f.advice == "" {
		f.advice = fmt.Sprintf("rbtool drops id:%d --advise counts what was refused while the ring was full", id)
	}
}

// advance returns how far a position moved forward. It returns 0 if the position moved back, which
// happens if another process writes it.
func advance(from, to uint64) uint64 { return uint64(max(int64(to-from), 0)) }

// sampleFor takes samples for a duration, and returns the flow of a map in the last one.
func sampleFor(ctx context.Context, s *inspect.Sampler, id ebpf.MapID, duration time.Duration) (*inspect.Flow, error) {
	const samples = 20
	tick := time.NewTicker(min(max(duration/samples, shortestInterval), time.Second/4))
	defer tick.Stop()
	for end := time.Now().Add(duration); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, command.Interrupted(ctx.Err())
		}
		f, err := flowOf(s, id)
		if err != nil || !time.Now().Before(end) {
			return f, err
		}
	}
}

// flowOf returns the flow of a map in a new sample.
func flowOf(s *inspect.Sampler, id ebpf.MapID) (*inspect.Flow, error) {
	sample, err := s.Sample()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(sample.Maps, func(m inspect.Map) bool { return m.ID == id })
	if i < 0 || sample.Maps[i].Flow == nil {
		return nil, fmt.Errorf("map id %d: positions unknown", id)
	}
	return sample.Maps[i].Flow, nil
}

// follow reads records until ctx is done, and then those that are still in the ring. fault is not nil if it had to stop because
// the ring is corrupt: inspect shows such rings, too.
func follow(ctx context.Context, src stream.Source, shape *drops.Shape) (fault, err error) {
	s := stream.Stream{Source: src, Sink: stream.Discard{}, Watch: func(rec consumer.Record) { shape.Add(rec.Pos, rec.Data) }}
	err = s.Run(ctx)
	switch {
	case errors.Is(err, consumer.ErrCorrupt):
		return err, nil
	case err != nil && !errors.Is(err, ctx.Err()):
		return nil, err
	}
	return nil, nil
}

// rows returns the flow as rows of a table.
func (f *ringFlow) rows() [][]string {
	in := fmt.Sprintf("%.0f bytes/s, %.1f records/s", f.ProducedRate, f.recordRate)
	if f.unread > 0 {
		in += fmt.Sprintf(", %d bytes of records overwritten before they were read", f.unread)
	}
	lag := f.Lag.Round(time.Millisecond).String()
	if f.LagAtLeast {
		lag = "at least " + lag
	}
	state := string(f.State)
	if f.StuckFor > 0 {
		state += fmt.Sprintf(" for %v", f.StuckFor.Round(time.Millisecond))
	}
	rows := [][]string{
		{"in", in},
		{"out", fmt.Sprintf("%.0f bytes/s", f.ConsumedRate)},
		{"high water", fmt.Sprintf("%d bytes", f.HighWater)},
		{"saturated", fmt.Sprintf("for %v of %v", f.Saturated.Round(time.Millisecond), f.watched.Round(time.Millisecond))},
		{"lag", lag},
		{"state", state},
	}
	if r := f.Refused; r != nil {
		rows = append(rows, []string{"meanwhile", fmt.Sprintf("%d samples refused, %d bytes; no room for %v", r.Samples, r.Bytes, r.Full.Round(time.Microsecond))})
	}
	if f.drops != nil {
		rows = append(rows, dropRows(f.drops)...)
	}
	if f.drains != nil {
		rows = append(rows, drainRow(f.drains))
	}
	if f.advice != "" {
		rows = append(rows, []string{"advice", f.advice})
	}
	return rows
}
