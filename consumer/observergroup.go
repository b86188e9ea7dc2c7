package consumer

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/cilium/ebpf"
)

// ObserverGroup watches many rings on one goroutine, each as an [Observer] does. It is fair as a [Group]
// is. The caller must close it.
//
// One goroutine at a time may read, and call Add and Remove between two passes. Any goroutine may call
// Close, Len and Stats.
type ObserverGroup struct {
	members memberList[*watched]
	opts    ObserverOptions
	closed  chan struct{}
	close   sync.Once

	// The reading goroutine owns the fields below.
	turn int // the ring that has the first turn in the next pass
	nap  time.Duration
	err  error
}

// watched is a member of an ObserverGroup.
type watched struct {
	*Observer
	bad bool // its ring was removed or reported as corrupt; later passes leave it out
}

// NewObserverGroup returns a Group without rings. opts apply to each ring that is added.
func NewObserverGroup(opts ObserverOptions) *ObserverGroup {
	opts.Interval = opts.interval()
	return &ObserverGroup{opts: opts, closed: make(chan struct{}), nap: shortestNap}
}

// Add makes m, a map of type RingBuf or UserRingbuf, a ring of the group, and returns its index: that of a
// removed ring if there is one, otherwise the old Len. The group keeps its own mapping; m may be closed.
// Errors are those of [NewObserver], and one matching [os.ErrClosed] after Close.
func (g *ObserverGroup) Add(m *ebpf.Map) (int, error) {
	o, err := NewObserver(m, g.opts)
	if err != nil {
		return 0, err
	}
	i := g.members.next()
	if !g.members.put(&watched{Observer: o}) {
		o.Close()
		return 0, errObserverClosed
	}
	return i, nil
}

// Remove closes ring i, with 0 <= i < Len. [ObserverGroup.Add] may give its index to another ring; until then
// its Stats fail with [os.ErrClosed]. It is idempotent.
func (g *ObserverGroup) Remove(i int) error {
	m := g.members.list[i]
	if m.mem.Closed() {
		return nil
	}
	m.bad = true
	return g.members.remove(i)
}

// Len returns the number of rings, with those that were removed and not replaced.
func (g *ObserverGroup) Len() int { return g.members.len() }

// Stats returns what was seen of ring i, with 0 <= i < Len, see [Observer.Stats].
func (g *ObserverGroup) Stats(i int) (ObserverStats, error) { return g.members.get(i).Stats() }

// Err returns the error that ended the last pass early, or nil: after Close one matching [os.ErrClosed],
// otherwise a [*RingError] whose cause matches [ErrCorrupt].
func (g *ObserverGroup) Err() error { return g.err }

// Close closes all rings. It ends a wait in progress. It is idempotent.
func (g *ObserverGroup) Close() error {
	g.close.Do(func() { close(g.closed) })
	return errors.Join(g.members.close()...)
}

// Pass returns an iterator over the records of all rings, at most limit of each ring, or 1,024 if limit is
// zero. [Record].Ring is the index of the ring. Records are copies, as in [Observer.Pass]. A ring that is
// corrupt ends one pass with a [*RingError] in Err; later passes leave that ring out.
func (g *ObserverGroup) Pass(limit int) iter.Seq[Record] {
	if limit <= 0 {
		limit = defaultShare
	}
	return func(yield func(Record) bool) {
		if g.err = nil; isClosed(g.closed) {
			g.err = errObserverClosed
			return
		}
		n := len(g.members.list)
		g.turn++ // the ring with the first turn in this pass has the last turn in the next
		for k := range n {
			i := (g.turn + k) % n
			m := g.members.list[i]
			if m.bad {
				continue
			}
			for rec := range m.Pass(limit) {
				rec.Ring = i
				if !yield(rec) {
					return
				}
			}
			if m.err != nil {
				g.fail(i)
				return
			}
		}
	}
}

// fail makes the error of ring i that of the group.
func (g *ObserverGroup) fail(i int) {
	m := g.members.list[i]
	if isClosed(g.closed) {
		g.err = errObserverClosed
		return
	}
	g.err = &RingError{i, m.err}
	m.bad = errors.Is(m.err, ErrCorrupt)
}

// Wait blocks until a record of any ring can be read, or records were lost. It sleeps between its polls as
// [Observer.Wait] does, as long as the busiest ring asks for.
func (g *ObserverGroup) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if isClosed(g.closed) {
		return errObserverClosed
	}
	if g.ready(func(o *Observer, came uint64) bool { return !o.rests || came >= o.mem.Size()/8 }) {
		return nil
	}
	for {
		if err := sleep(ctx, g.nap, g.closed); err != nil {
			return err
		}
		slept, next := g.nap, time.Duration(0)
		came := g.ready(func(o *Observer, came uint64) bool {
			o.nap = slept
			o.adapt(came)
			if next == 0 || o.nap < next {
				next = o.nap
			}
			return came > 0
		})
		if g.nap = next; next == 0 { // no rings
			g.nap = g.opts.Interval
		}
		if came {
			return nil
		}
	}
}

// ready polls all rings. It reports whether is returns true for any of them.
func (g *ObserverGroup) ready(is func(o *Observer, came uint64) bool) (any bool) {
	for _, m := range g.members.list {
		if m.bad {
			continue
		}
		came, err := m.poll()
		if err == nil && is(m.Observer, came) && came > 0 {
			any = true
		}
	}
	return any
}
