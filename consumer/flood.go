package consumer

import (
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// A wait that finds no record during a flood pauses before it sleeps: the next pass then has more
// records, and they arrive without wakeups.
const (
	floodPause = 50 * time.Microsecond
	floodRate  = 160e3 // records a second, which is 8 in a pause
	floodBatch = 4     // records since the previous wait; a program that answers each record sees fewer

	// The rings must have room for the records of floodRoom at the present rate. A quarter of it is
	// a pause together with the delay of the timer and of the scheduler.
	floodRoom = 800 * time.Microsecond
)

// flood measures how fast the records of a ring come, from one wait that finds none to the next.
type flood struct {
	at      time.Time // the previous wait
	pos     ring.Pos  // of the next record then
	records uint64    // consumed until then
}

// inflow is what came into a ring, or several, since the previous wait.
type inflow struct {
	records uint64
	rate    float64 // records a second
	crowded bool    // a ring is full after less than floodRoom at its rate
}

// next returns the inflow of a ring of size bytes until the time now. It is zero at the first call.
func (f *flood) next(now time.Time, pos ring.Pos, records, size uint64) inflow {
	old := *f
	*f = flood{now, pos, records}
	elapsed := now.Sub(old.at).Seconds()
	if old.at.IsZero() || elapsed <= 0 {
		return inflow{}
	}
	in := inflow{records: records - old.records}
	in.rate = float64(in.records) / elapsed
	in.crowded = float64(old.pos.To(pos))/elapsed*floodRoom.Seconds() > float64(size)
	return in
}

// add adds the inflow of another ring.
func (in *inflow) add(other inflow) {
	in.records += other.records
	in.rate += other.rate
	in.crowded = in.crowded || other.crowded
}

// pause returns how long the wait pauses.
func (in inflow) pause() time.Duration {
	if in.records < floodBatch || in.rate < floodRate || in.crowded {
		return 0
	}
	return floodPause
}

// inflow returns what came into the ring since the previous call, for a wait at the time now.
func (r *Reader) inflow(now time.Time) inflow {
	r.count()
	return r.flood.next(now, r.pos, r.counts.records.Load(), r.mem.Size())
}

// adapts reports whether waits pause when there is a flood.
func (o Options) adapts() bool { return o.Coalesce == 0 && o.BusyPoll == 0 }
