package inspect

import (
	"math/bits"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Flow is what went through a ring, as a [Sampler] saw it.
type Flow struct {
	// Produced and Consumed are bytes, headers included, since the ring's creation.
	// They never decrease, although positions wrap at 2^64.
	Produced, Consumed Total
	// Overwritten is a lower bound of the bytes that a ring in overwrite mode lost:
	// they were overwritten before they were consumed.
	Overwritten Total

	// The rates are bytes per second between the last two samples; 0 in the first.
	ProducedRate, ConsumedRate float64

	// HighWater is the largest backlog of any sample, in bytes.
	HighWater uint64
	// Saturated is the time for which the ring was at least 15/16 full: producers were
	// refused, or about to be. The kernel does not count refusals.
	Saturated time.Duration

	// Lag is the age of the oldest record in the ring, as far as the history of the
	// positions tells: it is exact to a sample's interval.
	Lag time.Duration
	// LagAtLeast reports that the record is older than the history.
	LagAtLeast bool

	State State
	// StuckFor is how long State has been ConsumerStuck, ProducerStuck or Unconsumed; otherwise 0.
	StuckFor time.Duration

	// Rates are the last values of ProducedRate, the newest last.
	Rates []float64
}

// State says whether a ring flows.
type State string

const (
	Idle          State = "idle"           // the ring is empty
	Flowing       State = "flowing"        // it has data, and the consumer moves or has just been given it
	ConsumerStuck State = "consumer_stuck" // it has data, and the consumer does not move
	ProducerStuck State = "producer_stuck" // the oldest record stays BUSY
	Unconsumed    State = "unconsumed"     // it has data, and no process consumes the ring
	Contradictory State = "contradictory"  // the positions cannot be right
)

// Total is a count of bytes of 128 bits: Hi<<64 | Lo.
type Total struct{ Hi, Lo uint64 }

func (t *Total) add(n uint64) {
	var carry uint64
	t.Lo, carry = bits.Add64(t.Lo, n, 0)
	t.Hi += carry
}

// Float64 returns the nearest float64.
func (t Total) Float64() float64 { return float64(t.Hi)*(1<<64) + float64(t.Lo) }

const (
	// historyLen is the number of samples in a ring's history.
	historyLen = 128
	// saturation is the least fill at which a ring counts as saturated.
	saturation = 15.0 / 16
)

// track follows one ring from sample to sample.
type track struct {
	flow    Flow
	started bool
	last    Positions
	seen    time.Time // of last

	// head is the state of the consumer's end, since headSince. If it has not changed for
	// stuckAfter, nothing moves.
	head       head
	headSince  time.Time
	stuckAfter time.Duration

	history []point // of producer_pos, oldest first
}

// head is the state of the consumer's end of a ring.
type head struct {
	waits    bool // there is a record
	consumer uint64
	busy     bool // the oldest record is
	busyPos  uint64
}

// point is a position of the producer.
type point struct {
	at  time.Time
	pos uint64
}

// sample adds the positions of a ring of size bytes, read at now.
func (k *track) sample(now time.Time, p Positions, size uint64) {
	// The backlog can exceed size while both move: see Positions.judge.
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
	produced := ring.Pos(k.last.Producer).To(ring.Pos(p.Producer))
	consumed := ring.Pos(k.last.Consumer).To(ring.Pos(p.Consumer))
	f.Produced.add(produced)
	f.Consumed.add(consumed)
	if p.Overwrite != nil && k.last.Overwrite != nil {
		// Bytes before either position were consumed or counted before.
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
	// The fill is known at both ends of the interval, and each counts for a half.
	for _, fill := range []float64{k.last.Fill, p.Fill} {
		if fill >= saturation {
			f.Saturated += interval / 2
		}
	}
}

// judge sets the state. [Sampler.Sample] changes it to Unconsumed for rings without a consumer.
func (k *track) judge(now time.Time, p Positions) {
	// The consumer's position, not that of the oldest record: in overwrite mode the latter moves without
	// the consumer.
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
	// The record was produced after the last sample whose producer_pos is not beyond it, and before the
	// next one.
	i := len(k.history) - 2
	for i >= 0 && int64(k.history[i].pos-oldest) > 0 {
		i--
	}
	if i < 0 {
		// headSince can be further back than the history.
		return max(now.Sub(k.history[0].at), now.Sub(k.headSince)), true
	}
	a := k.history[i]
	b := k.history[i+1] // the last one is beyond the oldest record
	part := float64(oldest-a.pos) / float64(b.pos-a.pos)
	produced := a.at.Add(time.Duration(part * float64(b.at.Sub(a.at))))
	return now.Sub(produced), false
}
