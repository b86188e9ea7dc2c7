package drops

import (
	"context"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
)

// Advisor watches the load and the records of one RINGBUF, to tell what would help it. It maps the ring read-only and
// copies its records as a [consumer.Observer] does, which takes CPU time on a busy ring but none of the programs'.
// The Advisor keeps the ring alive until it is closed.
//
// The caller must close it. Its methods may be called by any goroutine.
type Advisor struct {
	observer *consumer.Observer
	stop     context.CancelFunc
	ended    chan struct{} // closed when the goroutine that reads records has ended

	mu     sync.Mutex
	burst  *Burst
	shape  *Shape
	sleeps *Sleeps
	slept  uint64
	err    error // that ended the reading of records
}

// recordsAtOnce is how many records an Advisor looks at before others get at its figures.
const recordsAtOnce = 256

// NewAdvisor starts to watch m, a RINGBUF, which may be closed. consumers are the pids of the processes that consume the ring. Errors
// are those of [consumer.NewObserver].
func NewAdvisor(m *ebpf.Map, consumers ...uint32) (*Advisor, error) {
	o, err := consumer.NewObserver(m, consumer.ObserverOptions{Now: true})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	size := uint64(m.MaxEntries())
	a := &Advisor{observer: o, stop: stop, ended: make(chan struct{}), burst: NewBurst(size), shape: NewShape(size), sleeps: NewSleeps(consumers...)}
	a.Note(0)
	go a.read(ctx)
	return a, nil
}

// read looks at records until ctx is done.
func (a *Advisor) read(ctx context.Context) {
	defer close(a.ended)
	for {
		if a.observer.Wait(ctx) != nil { // ctx is done
			a.pass(0)
			return
		}
		if !a.pass(recordsAtOnce) {
			return
		}
	}
}

// pass looks at up to limit records, or at all that are there if limit is 0. It reports whether others can follow.
func (a *Advisor) pass(limit int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for rec := range a.observer.Pass(limit) {
		a.shape.Add(rec.Pos, rec.Data)
	}
	a.err = a.observer.Err()
	return a.err == nil
}

// Note takes the positions of the ring as they are now. refused is how many bytes the kernel has refused since the Advisor
// began, headers and padding included ([Ring].FailedBytes), or 0 if that is unknown. Call it often, such as every 50 ms: pauses of the
// consumer that are shorter than the time between two calls are not seen.
func (a *Advisor) Note(refused uint64) {
	stats, err := a.observer.Stats()
	if err != nil {
		return // closed
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.burst.Add(Moment{At: time.Now(), Consumer: stats.ConsumerPos, Producer: stats.ProducerPos, Refused: refused})
	a.slept, _ = a.sleeps.Count() // a consumer that has ended sleeps no more
}

// Advice has the figures on which advice is based. Sizes are in bytes.
type Advice struct {
	Sizing Sizing
	Tails  []Tail // of the records by length, those that waste most first

	Records   uint64 // that were seen, and not discarded
	Discarded uint64 // that programs discarded
	// Seen and Skipped are the bytes of Records and of Discarded, with headers and padding. Unseen bytes were overwritten before
	// they could be copied.
	Seen, Skipped, Unseen uint64
	// Sleeps is how often the consumers went to sleep: an upper bound of the wakeups by the ring.
	Sleeps uint64
	Err    error // why not all records were seen, or nil
}

// Advice returns the figures so far.
func (a *Advisor) Advice() Advice {
	stats, _ := a.observer.Stats() // after Close, those at the end
	a.mu.Lock()
	defer a.mu.Unlock()
	return Advice{
		Sizing: a.burst.Sizing(), Tails: a.shape.Tails(),
		Records: stats.Records, Discarded: stats.Discarded, Seen: stats.Seen, Skipped: stats.Skipped, Unseen: stats.Lost,
		Sleeps: a.slept, Err: a.err,
	}
}

// Close ends the watch. It is idempotent. Advice still returns the figures.
func (a *Advisor) Close() error {
	a.stop()
	<-a.ended
	return a.observer.Close()
}
