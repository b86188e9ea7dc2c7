package userprod

import (
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Refused counts the samples for which a ring had no room. The counts are in the memory of the ring,
// where rbtool and package inspect read them. They go on from one Producer to the next. Other
// processes can write them: they are hints.
type Refused struct {
	// Samples counts each sample that was not written because the ring was full: a Try call that
	// failed with ErrFull, and a wait for room that its context ended. A wait that found room does
	// not count. TryWriteAll and WriteAll count the values that they did not write.
	Samples uint64
	// Bytes is the size of those samples, without headers.
	Bytes uint64
	// Full is the time for which Producers found no room: all of each wait for room, and the time
	// between two refusals if no sample was drained or written in between. It is a lower bound.
	Full time.Duration
}

// noRoom is when the ring had no room, and its positions then. mu guards that of a Producer.
type noRoom struct {
	at         time.Time
	cons, head ring.Pos
}

// noteFull is called when the ring has no room at consumer position cons. The caller holds mu.
func (p *Producer) noteFull(cons ring.Pos) {
	now := noRoom{time.Now(), cons, p.head}
	// While a goroutine waits for room, sleep counts the time.
	if then := p.noRoom; then.cons == cons && then.head == p.head && !then.at.IsZero() && p.queue.Load() == 0 {
		p.pos.Refusals().Nanos.Add(uint64(now.at.Sub(then.at)))
	}
	p.noRoom = now
}

// countRefused counts samples of n bytes each if err is ErrFull.
func (p *Producer) countRefused(err error, samples, n int) {
	if err != ErrFull || samples == 0 {
		return
	}
	r := p.pos.Refusals()
	r.Samples.Add(uint64(samples))
	r.Bytes.Add(uint64(samples) * uint64(n))
}

func (p *Producer) refused() Refused {
	if r := p.pos.Refusals().Load(); r != nil {
		return Refused(*r)
	}
	return Refused{} // another process has changed the layout
}
