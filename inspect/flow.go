package inspect

import (
	"math"
	"math/bits"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Flow describes the bytes that went through a ring, as a [Sampler] measured them.
type Flow struct {
	// Produced and Consumed count the bytes, headers included, since the ring's creation.
	// They never decrease, although positions wrap at 2^64.
	Produced, Consumed Total
	// Overwritten is a lower bound of the bytes that were overwritten before they were
	// consumed, in a ring in overwrite mode.
	Overwritten Total
	// Refused is what the producers of a user ring have counted since the first sample. It is nil as
	// Positions.Refused is.
	Refused *Refused

	// The rates are in bytes per second between the last two samples; 0 in the first sample.
	ProducedRate, ConsumedRate float64

	// HighWater is the largest backlog that a sample has seen, in bytes.
	HighWater uint64
	// Saturated is the total time for which the ring was at least 15/16 full: reservations
	// failed, or were about to. The kernel does not count failed reservations; package drops does.
	Saturated time.Duration

	// Lag is the age of the oldest record in the ring, estimated from earlier samples; 0 if
	// the ring is empty. Its error is at most the interval between two samples.
	Lag time.Duration
	// LagAtLeast reports that the record is older than the samples kept: Lag is a lower bound.
	LagAtLeast bool

	State State
	// StuckFor is the time since the last progress if State is ConsumerStuck, ProducerStuck or
	// Unconsumed, thus at least SamplerOptions.StuckAfter; 0 if State is Idle or Flowing.
	StuckFor time.Duration

	// Rates are the last 128 values of ProducedRate at most, the newest at the end.
	Rates []float64
}

// State says whether data moves through a ring. [SamplerOptions].StuckAfter is the time after which a
// ring without progress is stuck.
type State string

const (
	Idle          State = "idle"           // the ring is empty
	Flowing       State = "flowing"        // the ring has data, and consumer_pos moves or the data is new
	ConsumerStuck State = "consumer_stuck" // the ring has data, and consumer_pos does not move
	ProducerStuck State = "producer_stuck" // the oldest record stays BUSY
	Unconsumed    State = "unconsumed"     // ConsumerStuck, and no process has the RINGBUF mapped to consume it
	Contradictory State = "contradictory"  // the positions cannot be right
)

// Total is a 128-bit count of bytes: Hi<<64 | Lo.
type Total struct{ Hi, Lo uint64 }

func (t *Total) add(n uint64) {
	var carry uint64
	t.Lo, carry = bits.Add64(t.Lo, n, 0)
	t.Hi += carry
}

// Float64 returns the nearest float64.
func (t Total) Float64() float64 { return float64(t.Hi)*(1<<64) + float64(t.Lo) }

// add returns r with what producers have counted between two samples. Counts before the first
// producer that counts are 0. A count that decreases was written by another process: it adds nothing.
func (r *Refused) add(last, now *Refused) *Refused {
	if now == nil {
		return nil
	}
	var sum, before Refused
	if r != nil {
		sum = *r
	}
	if last != nil {
		before = *last
	}
	sum.Samples += now.Samples - min(now.Samples, before.Samples)
	sum.Bytes += now.Bytes - min(now.Bytes, before.Bytes)
	sum.Full += min(now.Full-min(now.Full, before.Full), math.MaxInt64-sum.Full)
	return &sum
}

const (
	// historyLen is the number of samples in a ring's history.
	historyLen = 128
	// saturation is the minimum fill of a ring that counts as saturated.
	saturation = 15.0 / 16
)

// track follows one ring from sample to sample.
type track struct {
	flow    Flow
	started bool
	last    Positions
	seen    time.Time // when last was sampled

	// head is the state of the consumer's end, which has been the same since headSince. The ring
	// is stuck if head does not change for stuckAfter.
	head       head
	headSince  time.Time
	stuckAfter time.Duration

	history []point // of producer_pos, oldest first
}

// head is the state of the consumer's end of a ring.
type head struct {
	waits    bool // the ring has data
	consumer uint64
	busy     bool   // the oldest record is BUSY
	busyPos  uint64 // position of the BUSY record
}

// point is producer_pos at one time.
type point struct {
	at  time.Time
	pos uint64
}

// sample adds the positions of a ring of size bytes, read at now.
func (k *track) sample(now time.Time, p Positions, size uint64) {
	// The backlog can exceed size while producer and consumer move: see Positions.judge.
	if ahead := p.Producer - p.oldest(); int64(ahead) < 0 || ahead > 2*size {
		k.flow.State, k.flow.ProducedRate, k.flow.ConsumedRate = Contradictory, 0, 0
		return
	}
	if !k.started {
		k.flow.Produced.add(p.Producer)
		k.flow.Consumed.add(p.Consumer)
		k.flow.Refused = k.flow.Refused.add(p.Refused, p.Refused)
	} else {
		k.count(now, p)
	}
	k.flow.HighWater = max(k.flow.HighWater, p.Backlog)
	if k.started = true; k.history == nil {
		k.history = make([]point, 0, historyLen)
	}
	if len(k.history) == historyLen {
		k.history = append(k.history[:0], k.history[1:]...)
	}
	k.history = append(k.history, point{now, p.Producer})
	k.judge(now, p)
	k.flow.Lag, k.flow.LagAtLeast = k.lag(now, p)
	k.last, k.seen = p, now
}

// count adds the bytes that were produced, consumed and overwritten since the last sample.
func (k *track) count(now time.Time, p Positions) {
	f := &k.flow
	produced := ring.Pos(k.last.Producer).To(ring.Pos(p.Producer))
	consumed := ring.Pos(k.last.Consumer).To(ring.Pos(p.Consumer))
	f.Produced.add(produced)
	f.Consumed.add(consumed)
	f.Refused = f.Refused.add(k.last.Refused, p.Refused)
	if p.Overwrite != nil && k.last.Overwrite != nil {
		// Bytes before the later of the two positions were consumed, or are already counted as overwritten.
		from := ring.Later(ring.Pos(*k.last.Overwrite), ring.Pos(p.Consumer))
		f.Overwritten.add(from.To(ring.Pos(*p.Overwrite)))
	}
	interval := now.Sub(k.seen)
	if s := interval.Seconds(); s > 0 {
		f.ProducedRate, f.ConsumedRate = float64(produced)/s, float64(consumed)/s
	}
	if len(f.Rates) == historyLen {
		f.Rates = append(f.Rates[:0], f.Rates[1:]...)
	}
	f.Rates = append(f.Rates, f.ProducedRate)
	// Each end of the interval at which the ring is saturated counts as half the interval.
	for _, fill := range []float64{k.last.Fill, p.Fill} {
		if fill >= saturation {
			f.Saturated += interval / 2
		}
	}
}

// judge sets State and StuckFor. [Sampler.Sample] changes ConsumerStuck to Unconsumed if no process consumes the
// ring.
func (k *track) judge(now time.Time, p Positions) {
	// Use consumer_pos, not the position of the oldest record: in overwrite mode that moves even if the consumer
	// does not.
	h := head{waits: p.Backlog > 0, consumer: p.Consumer}
	if p.Busy != nil {
		h.busy, h.busyPos = true, p.Busy.Pos
	}
	if h != k.head || k.headSince.IsZero() {
		k.head, k.headSince = h, now
	}
	f, since := &k.flow, now.Sub(k.headSince)
	f.StuckFor = 0
	switch {
	case !h.waits:
		f.State = Idle
	case since < k.stuckAfter:
		f.State = Flowing
	case h.busy:
		f.State, f.StuckFor = ProducerStuck, since
	default:
		f.State, f.StuckFor = ConsumerStuck, since
	}
}

// lag estimates the age of the oldest record.
func (k *track) lag(now time.Time, p Positions) (lag time.Duration, atLeast bool) {
	if p.Backlog == 0 {
		return 0, false
	}
	oldest := p.oldest()
	// Find the last sample whose producer_pos is not beyond the record: the record was produced between that
	// sample and the next.
	i := len(k.history) - 2
	for i >= 0 && int64(k.history[i].pos-oldest) > 0 {
		i--
	}
	if i < 0 {
		// The record is older than the history, and headSince can be earlier still.
		return max(now.Sub(k.history[0].at), now.Sub(k.headSince)), true
	}
	a := k.history[i]
	b := k.history[i+1] // exists: the newest sample's producer_pos is beyond the oldest record
	part := float64(oldest-a.pos) / float64(b.pos-a.pos)
	produced := a.at.Add(time.Duration(part * float64(b.at.Sub(a.at))))
	return now.Sub(produced), false
}
