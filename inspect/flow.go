package inspect

import (
	"encoding/json"
	"math/bits"
	"strconv"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Flow is what went through a ring, as a [Sampler] saw it. Its JSON names are for
// scripts and do not change; times are in seconds there.
type Flow struct {
	// Produced and Consumed are bytes, headers included, since the ring's creation.
	// They never decrease, although positions wrap at 2^64.
	Produced Total `json:"produced_bytes"`
	Consumed Total `json:"consumed_bytes"`
	// Overwritten is how many bytes a ring in overwrite mode lost, at the least:
	// they were overwritten before they were consumed.
	Overwritten Total `json:"overwritten_bytes"`

	// The rates are bytes a second between the last two samples, 0 at the first.
	ProducedRate float64 `json:"produced_bytes_per_second"`
	ConsumedRate float64 `json:"consumed_bytes_per_second"`

	// HighWater is the largest backlog that a sample has seen, in bytes.
	HighWater uint64 `json:"high_water_bytes"`
	// Saturated is for how long the ring was at least 15/16 full: producers were
	// refused, or soon would have been. The kernel does not count refusals.
	Saturated Seconds `json:"saturated_seconds"`

	// Lag is how long ago the oldest record that waits was produced, as
	// the history of the positions tells. It is exact to a sample's interval.
	Lag Seconds `json:"lag_seconds"`
	// LagAtLeast says that the record is older than the history.
	LagAtLeast bool `json:"lag_at_least"`

	State State `json:"state"`
	// Since is how long the state has lasted, when it is one of the stuck ones.
	Since Seconds `json:"stuck_seconds"`

	// Rates are the last values of ProducedRate, the newest last.
	Rates []float64 `json:"-"`
}

// State says whether a ring flows.
type State string

const (
	Idle          State = "idle"    // nothing waits
	Flowing       State = "flowing" // data waits, and the consumer moves or has just been given it
	ConsumerStuck State = "consumer_stuck"
	ProducerStuck State = "producer_stuck" // the oldest record stays BUSY
	Unconsumed    State = "unconsumed"     // data waits, and no process consumes the ring
	Contradictory State = "contradictory"  // the positions cannot be right
)

// Stuck reports whether data waits and nothing moves.
func (s State) Stuck() bool { return s == ConsumerStuck || s == ProducerStuck || s == Unconsumed }

// Seconds is a duration that is a number of seconds in JSON.
type Seconds time.Duration

// Seconds returns it as a number.
func (s Seconds) Seconds() float64 { return time.Duration(s).Seconds() }

func (s Seconds) String() string { return time.Duration(s).String() }

// MarshalJSON gives the number.
func (s Seconds) MarshalJSON() ([]byte, error) { return json.Marshal(s.Seconds()) }

// Total is a count of bytes that does not wrap.
type Total struct{ hi, lo uint64 }

func (t *Total) add(n uint64) {
	var carry uint64
	t.lo, carry = bits.Add64(t.lo, n, 0)
	t.hi += carry
}

// Float64 returns the nearest float.
func (t Total) Float64() float64 { return float64(t.hi)*(1<<64) + float64(t.lo) }

// MarshalJSON gives the number.
func (t Total) MarshalJSON() ([]byte, error) {
	if t.hi == 0 {
		return strconv.AppendUint(nil, t.lo, 10), nil
	}
	return json.Marshal(t.Float64())
}

const (
	// historyLen is how many samples a ring's history keeps.
	historyLen = 128
	// saturation is the fill from which on a ring counts as saturated.
	saturation = 15.0 / 16
)

// track follows one ring from sample to sample.
type track struct {
	flow    Flow
	started bool
	last    Positions
	seen    time.Time // of last

	// head is what the consumer has before it, and since when. Two samples that
	// are stuckAfter apart and see the same show that nothing moves.
	head       head
	headSince  time.Time
	stuckAfter time.Duration

	history []point // of producer_pos, oldest first
}

// head is what holds up a ring, if anything does.
type head struct {
	waits    bool // there is a record
	consumer uint64
	busy     bool // the oldest record is
	busyPos  uint64
}

// point is where the producer was at some time.
type point struct {
	at  time.Time
	pos uint64
}

// sample takes in the positions of a ring of size bytes, read at now.
func (k *track) sample(now time.Time, p Positions, size uint64) {
	// More than fits may be read while both move: see Positions.judge.
	if ahead := p.Producer - p.oldest(); int64(ahead) < 0 || ahead > 2*size {
		k.flow.State, k.flow.ProducedRate, k.flow.ConsumedRate = Contradictory, 0, 0
		return
	}
	if !k.started {
		k.flow.Produced.add(p.Producer)
		k.flow.Consumed.add(p.Consumer)
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

// count adds what moved since the last sample.
func (k *track) count(now time.Time, p Positions) {
	f := &k.flow
	produced := ring.Forward(k.last.Producer, p.Producer)
	consumed := ring.Forward(k.last.Consumer, p.Consumer)
	f.Produced.add(produced)
	f.Consumed.add(consumed)
	if p.Overwrite != nil && k.last.Overwrite != nil {
		// What lies before both positions was consumed or counted before.
		from := *k.last.Overwrite
		if int64(p.Consumer-from) > 0 {
			from = p.Consumer
		}
		f.Overwritten.add(ring.Forward(from, *p.Overwrite))
	}
	interval := now.Sub(k.seen)
	if s := interval.Seconds(); s > 0 {
		f.ProducedRate, f.ConsumedRate = float64(produced)/s, float64(consumed)/s
	}
	if len(f.Rates) == historyLen {
		f.Rates = append(f.Rates[:0], f.Rates[1:]...)
	}
	f.Rates = append(f.Rates, f.ProducedRate)
	// The fill is known at the ends of the interval: each stands for a half.
	for _, fill := range []float64{k.last.Fill, p.Fill} {
		if fill >= saturation {
			f.Saturated += Seconds(interval / 2)
		}
	}
}

// judge finds out whether the ring flows. [Sampler.Sample] tells rings that
// nobody consumes from those whose consumer is stuck.
func (k *track) judge(now time.Time, p Positions) {
	// The consumer's position, not the oldest record's: in overwrite mode that
	// moves although the consumer does not.
	h := head{waits: p.Backlog > 0, consumer: p.Consumer}
	if p.Busy != nil {
		h.busy, h.busyPos = true, p.Busy.Pos
	}
	if h != k.head || k.headSince.IsZero() {
		k.head, k.headSince = h, now
	}
	f, since := &k.flow, now.Sub(k.headSince)
	f.Since = 0
	switch {
	case !h.waits:
		f.State = Idle
	case since < k.stuckAfter:
		f.State = Flowing
	case h.busy:
		f.State, f.Since = ProducerStuck, Seconds(since)
	default:
		f.State, f.Since = ConsumerStuck, Seconds(since)
	}
}

// lag estimates the age of the oldest record.
func (k *track) lag(now time.Time, p Positions) (lag Seconds, atLeast bool) {
	if p.Backlog == 0 {
		return 0, false
	}
	oldest := p.oldest()
	// The record was produced after the last sample whose producer_pos is not
	// beyond it, and before the next one.
	i := len(k.history) - 2
	for i >= 0 && int64(k.history[i].pos-oldest) > 0 {
		i--
	}
	if i < 0 {
		// What is known of the head can reach further back.
		return Seconds(max(now.Sub(k.history[0].at), now.Sub(k.headSince))), true
	}
	a := k.history[i]
	b := k.history[i+1] // the last one is beyond the oldest record
	part := float64(oldest-a.pos) / float64(b.pos-a.pos)
	produced := a.at.Add(time.Duration(part * float64(b.at.Sub(a.at))))
	return Seconds(now.Sub(produced)), false
}
