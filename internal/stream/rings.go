package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
)

// Rings is a fair Source of several rings, which may come and go while it is read: a ring waits for at most one batch of
// each other ring. [consumer.Record].Ring is the index of a record's ring.
//
// One goroutine at a time may read, and call the other methods between two passes. Any goroutine may call Do and Close.
type Rings struct {
	// Gone is called when a ring was removed, and before its index is free for another one. why is nil if Retire removes the
	// ring, otherwise an error matching [consumer.ErrCorrupt], or [consumer.ErrBusy] if the ring was stolen: the other rings
	// go on. It may be nil.
	Gone func(ring int, why error)
	// Holds reports whether records of a ring are held back after they were read, as by [Ordered.Holds]: the ring keeps its
	// index until none is. It may be nil.
	Holds func(ring int) bool
	// Grows says that rings may still come when there are none. Otherwise the source ends with its last ring: with the
	// error of that ring, or io.EOF.
	Grows bool

	group   ringGroup
	indices []int           // of rings, by their index in the group, which the group gives to another ring at once
	free    []int           // indices of rings that have gone
	rings   map[int]*member // by index
	leaving map[int]*member // removed from the group, while their records are held back
	gone    Totals          // of the rings that were removed
	read    time.Time       // when the current record was read
	err     error

	mu     sync.Mutex // for the fields below
	queue  []func()   // for Do
	base   context.Context
	wait   context.Context // derived from base: Do cancels it
	cancel context.CancelFunc
}

// member is one of the rings.
type member struct {
	grouped  int    // its index in the group
	start    uint64 // records before this position are skipped; 0 skips none
	retiring bool
	end      uint64 // where the producer was when the ring began to retire
	at       uint64 // where the reader was at the last call of Retire
	passed   bool   // a whole pass has run since
	totals   Totals // at its end, once it is leaving
	why      error
}

// ringGroup is a group of package consumer.
type ringGroup interface {
	consumer.Source
	Add(m *ebpf.Map) (int, error)
	Remove(i int) error
	totals(i int) Totals
	// blocked reports whether a pass that read nothing of a ring with records was kept from them by a record that is not
	// committed.
	blocked(i int) bool
}

type consumedGroup struct{ *consumer.Group }

func (g consumedGroup) Add(m *ebpf.Map) (int, error) {
	i, err := g.Group.Add(m)
	if err != nil {
		return 0, fmt.Errorf("read ring %s: %w", m, err)
	}
	return i, nil
}

func (g consumedGroup) totals(i int) Totals {
	s, _ := g.Stats(i)
	return consumed(s)
}

func (g consumedGroup) blocked(i int) bool {
	s, err := g.Stats(i)
	return err == nil && s.Busy
}

type observedGroup struct{ *consumer.ObserverGroup }

func (g observedGroup) totals(i int) Totals {
	s, _ := g.Stats(i)
	return observed(s)
}

// blocked implements [ringGroup]: each pass of an observer visits all rings.
func (g observedGroup) blocked(int) bool { return true }

// ConsumeRings returns a Source that consumes the rings that are added. Set opts.BeforePublish to the Flush of the stream's sink.
func ConsumeRings(opts consumer.Options) (*Rings, error) {
	g, err := consumer.NewGroup(nil, opts)
	if err != nil {
		return nil, err
	}
	return newRings(consumedGroup{g}), nil
}

// ObserveRings returns a Source that watches the rings that are added.
func ObserveRings() *Rings {
	return newRings(observedGroup{consumer.NewObserverGroup(consumer.ObserverOptions{})})
}

func newRings(g ringGroup) *Rings {
	return &Rings{group: g, rings: map[int]*member{}, leaving: map[int]*member{}}
}

// Add adds a ring, a map of type RingBuf, or also UserRingbuf if rings are observed, and returns its index: the lowest that
// no ring has had, or that of a ring that has gone. If now is set, it skips the records that are already in the ring. m may be
// closed.
func (r *Rings) Add(m *ebpf.Map, now bool) (int, error) {
	grouped, err := r.group.Add(m)
	if err != nil {
		return 0, err
	}
	i := len(r.rings) + len(r.leaving)
	if n := len(r.free); n > 0 {
		i, r.free = r.free[n-1], r.free[:n-1]
	}
	for grouped >= len(r.indices) {
		r.indices = append(r.indices, 0)
	}
	r.indices[grouped], r.rings[i] = i, &member{grouped: grouped}
	if now {
		r.rings[i].start = r.group.totals(grouped).End
	}
	return i, nil
}

// Skip skips the records of a ring that begin before pos. Call it after Add.
func (r *Rings) Skip(i int, pos uint64) { r.rings[i].start = pos }

// Retire removes a ring as soon as the records that it has now were read. Call it again from time to time: it removes a ring
// whose next record nobody commits if nothing was read since the last call, in which a whole pass ran.
func (r *Rings) Retire(i int) {
	m := r.rings[i]
	if m == nil {
		return
	}
	t := r.group.totals(m.grouped)
	switch {
	case !m.retiring:
		m.retiring, m.end = true, t.End
	case !m.passed:
		return
	case t.Pos == m.at && r.group.blocked(m.grouped):
		r.remove(i, nil)
		return
	}
	m.at, m.passed = t.Pos, false
}

// unpassed reports whether a ring that retires waits for a pass.
func (r *Rings) unpassed() bool {
	for _, m := range r.rings {
		if m.retiring && !m.passed {
			return true
		}
	}
	return false
}

// retire removes the rings of which all was read, and lets go of those whose records are not held back any more.
func (r *Rings) retire() {
	for i, m := range maps.Clone(r.rings) {
		if m.retiring && ring.Pos(m.end).NotAfter(ring.Pos(r.group.totals(m.grouped).Pos)) {
			r.remove(i, nil)
		}
	}
	for i := range maps.Clone(r.leaving) {
		r.letGo(i)
	}
}

// remove removes a ring from the group.
func (r *Rings) remove(i int, why error) {
	m := r.rings[i]
	m.totals, m.why = r.TotalsOf(i), why
	r.gone.add(m.totals)
	delete(r.rings, i)
	r.leaving[i] = m
	r.group.Remove(m.grouped) // nothing is published that the sink has not flushed: the error would be that of the last pass
	r.letGo(i)
}

// letGo ends a ring that is leaving, unless records of it are held back.
func (r *Rings) letGo(i int) {
	if r.Holds != nil && r.Holds(i) {
		return
	}
	if r.Gone != nil {
		r.Gone(i, r.leaving[i].why)
	}
	delete(r.leaving, i)
	r.free = append(r.free, i)
}

// Len returns the number of rings that are read.
func (r *Rings) Len() int { return len(r.rings) }

// TotalsOf returns the counts of a ring that has not gone.
func (r *Rings) TotalsOf(i int) Totals {
	if m := r.leaving[i]; m != nil {
		return m.totals
	}
	m := r.rings[i]
	if m == nil {
		return Totals{}
	}
	t := r.group.totals(m.grouped)
	if m.start != 0 {
		t.Pos = m.start
	}
	return t
}

// Stats returns what the Reader of a consumed ring has done.
func (r *Rings) Stats(i int) (consumer.Stats, bool) {
	g, ok := r.group.(consumedGroup)
	m := r.rings[i]
	if !ok || m == nil {
		return consumer.Stats{}, false
	}
	s, err := g.Stats(m.grouped)
	return s, err == nil
}

// Totals implements [Source]. Of several rings it returns no positions.
func (r *Rings) Totals() Totals {
	sum := r.gone
	for _, m := range r.rings {
		sum.add(r.group.totals(m.grouped))
	}
	return sum
}

// Time returns the time at which the current record of a pass was read.
func (r *Rings) Time() time.Time { return r.read }

// Do calls f on the reading goroutine, between two passes. It ends a wait.
func (r *Rings) Do(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, f)
	if r.cancel != nil {
		r.cancel()
	}
}

// Wait implements [Source].
func (r *Rings) Wait(ctx context.Context) error {
	for {
		wait := r.start(ctx)
		if wait == nil {
			continue
		}
		if r.retire(); len(r.rings) == 0 && !r.Grows {
			return io.EOF
		}
		if r.unpassed() {
			return ctx.Err()
		}
		err := r.group.Wait(wait)
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			continue // for Do
		}
		if failed, ok := errors.AsType[*consumer.RingError](err); ok {
			if err = r.drop(failed); err == nil {
				continue
			}
		}
		return err
	}
}

// start calls the functions of Do. It returns a context for one wait, or nil if there are more functions.
func (r *Rings) start(ctx context.Context) context.Context {
	r.mu.Lock()
	queue := r.queue
	r.queue = nil
	r.mu.Unlock()
	for _, f := range queue {
		f()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 {
		return nil
	}
	if r.base != ctx || r.wait.Err() != nil {
		if r.cancel != nil {
			r.cancel()
		}
		r.base = ctx
		r.wait, r.cancel = context.WithCancel(ctx)
	}
	return r.wait
}

// drop removes a ring that cannot be read any more. It returns an error that concerns all rings, or that of the last ring.
func (r *Rings) drop(failed *consumer.RingError) error {
	if !errors.Is(failed, consumer.ErrCorrupt) && !errors.Is(failed, consumer.ErrBusy) {
		return failed.Err
	}
	if len(r.rings) == 1 && !r.Grows {
		return failed.Err
	}
	r.remove(r.indices[failed.Ring], failed.Err)
	return nil
}

// Pass implements [Source]. limit is that of each ring.
func (r *Rings) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		current, start, whole := -1, uint64(0), true
		for rec := range r.group.Pass(limit) {
			rec.Ring = r.indices[rec.Ring]
			if rec.Ring != current {
				current, start = rec.Ring, r.rings[rec.Ring].start
				r.read = time.Now()
			}
			if start != 0 {
				if ring.Pos(rec.Pos).Before(ring.Pos(start)) {
					continue
				}
				start, r.rings[current].start = 0, 0
			}
			if whole = yield(rec); !whole {
				break
			}
		}
		r.err = r.group.Err()
		for _, m := range r.rings {
			m.passed = whole && r.err == nil || m.passed
		}
		if failed, ok := errors.AsType[*consumer.RingError](r.err); ok {
			r.err = r.drop(failed)
		}
	}
}

// Err implements [Source].
func (r *Rings) Err() error { return r.err }

// Close implements [Source].
func (r *Rings) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
	return r.group.Close()
}
