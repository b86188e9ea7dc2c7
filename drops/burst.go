package drops

import (
	"math/bits"
	"time"

	"github.com/rbtool/rbtool/internal/ring"
)

// Moment is what is known of a ring at one time.
type Moment struct {
	At       time.Time
	Consumer uint64 // consumer_pos
	Producer uint64 // producer_pos
	// Refused is how many bytes the kernel has refused since some time, headers and padding included.
	Refused uint64
}

// Burst follows the load of a ring from moment to moment and computes the size that would have held it. Its figures are
// as fine as the moments are close: of refused bytes and a consumer that caught up between two moments, it counts the bytes first.
//
// One goroutine at a time may use a Burst.
type Burst struct {
	size    uint64
	started bool
	last    Moment
	sizing  Sizing

	waited time.Duration // for which records waited for the consumer
	extra  uint64        // bytes that were refused since the consumer last caught up
	most   uint64        // the largest extra
	behind bool          // the consumer has not caught up since bytes were refused for the first time

	pause      time.Duration // since the consumer stopped
	pauseBytes uint64
}

// NewBurst returns a Burst for a ring of size bytes.
func NewBurst(size uint64) *Burst { return &Burst{size: size} }

// caughtUpShare is the part of a ring, as a divisor, that may wait for a consumer that has caught up: after bytes were
// refused it has then consumed faster than programs wrote.
const caughtUpShare = 8

// Add adds a moment, later than those before.
func (b *Burst) Add(m Moment) {
	last := b.last
	b.last = m
	backlog := min(ring.Pos(m.Consumer).To(ring.Pos(m.Producer)), b.size)
	s := &b.sizing
	s.Backlog = max(s.Backlog, backlog)
	if !b.started {
		b.started = true
		return
	}
	took := m.At.Sub(last.At)
	waiting := last.Consumer != last.Producer
	consumed := ring.Pos(last.Consumer).To(ring.Pos(m.Consumer))
	refused := max(m.Refused, last.Refused) - last.Refused
	written := ring.Pos(last.Producer).To(ring.Pos(m.Producer)) + refused
	s.Elapsed += took
	s.Written += written
	s.Refused += refused
	s.Consumed += consumed
	if waiting {
		b.waited += took
	}
	b.trackPause(waiting && consumed == 0, took, written)

	if refused > 0 && s.Refused == refused {
		b.behind = true
	}
	b.extra += refused
	b.most = max(b.most, b.extra)
	if backlog <= b.size/caughtUpShare {
		b.extra, b.behind = 0, false
	}
}

// trackPause adds an interval to the consumer's pause, or ends the pause.
func (b *Burst) trackPause(stands bool, took time.Duration, written uint64) {
	if !stands {
		b.pause, b.pauseBytes = 0, 0
		return
	}
	b.pause += took
	b.pauseBytes += written
	if s := &b.sizing; b.pause > s.Pause {
		s.Pause, s.PauseBytes = b.pause, b.pauseBytes
	}
}

// Verdict says what a [Sizing] found.
type Verdict string

// What a Sizing finds.
const (
	Fits       Verdict = "fits"       // nothing was refused
	Enlarge    Verdict = "enlarge"    // a ring of Suggested bytes would have held all
	TooSlow    Verdict = "too_slow"   // the consumer is slower than the programs: no size helps
	Unconsumed Verdict = "unconsumed" // nothing was consumed: no size helps
	TooLarge   Verdict = "too_large"  // no ring is large enough
)

// Sizing says which size a ring needs for the load that a [Burst] has seen. Sizes are in bytes, headers and padding of
// records included.
type Sizing struct {
	Verdict Verdict
	Size    uint64 // of the ring
	// Suggested is the size of a ring that would have held the load, a power of two; 0 unless Verdict is Enlarge.
	Suggested uint64
	// Extra is the most that was refused until the consumer caught up, and Need is Size + Extra: what the ring would have had
	// to hold, at most. A Burst that ended before the consumer caught up could have needed more: then AtLeast is set.
	Extra, Need uint64
	AtLeast     bool

	Written  uint64 // what programs wrote or tried to write
	Refused  uint64 // the part of it that was refused
	Consumed uint64
	Backlog  uint64 // the most that waited at any moment
	Elapsed  time.Duration
	// WriteRate is Written per second of the whole time. ConsumeRate is Consumed per second of the time in which records
	// waited for the consumer, its pauses included; 0 if none waited.
	WriteRate, ConsumeRate float64
	// Pause is the longest time for which the consumer did not move while records waited, and PauseBytes what programs wrote,
	// or tried to, in it.
	Pause      time.Duration
	PauseBytes uint64
}

// maxRing is the size of the largest ring: max_entries is a u32 and a power of two (kernel/bpf/ringbuf.c,
// ringbuf_map_alloc).
const maxRing = 1 << 31

// Sizing returns what the moments so far say.
func (b *Burst) Sizing() Sizing {
	s := b.sizing
	s.Size, s.Extra, s.AtLeast = b.size, b.most, b.extra > 0
	s.WriteRate, s.ConsumeRate = rate(s.Written, s.Elapsed), rate(s.Consumed, b.waited)
	if s.Verdict = Fits; s.Refused == 0 {
		s.Need = s.Backlog
		return s
	}
	s.Need = b.size + s.Extra
	switch suggested := FitSize(s.Need); {
	case s.Consumed == 0:
		s.Verdict = Unconsumed
	case b.behind && s.ConsumeRate <= s.WriteRate:
		s.Verdict = TooSlow
	case suggested > maxRing:
		s.Verdict = TooLarge
	default:
		s.Verdict, s.Suggested = Enlarge, suggested
	}
	return s
}

// Lower lowers the Need of an Enlarge to n, such as [Ring].Needed, if that is less: both are upper bounds.
func (s *Sizing) Lower(n uint64) {
	if s.Verdict == Enlarge && n < s.Need {
		s.Need, s.Extra, s.Suggested = n, max(n, s.Size)-s.Size, FitSize(n)
	}
}

// FitSize returns the size of the smallest ring that holds n bytes of records, headers and padding included: a power of two
// above n, since a full ring keeps 8 bytes free (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve). It may be below the size of
// a page.
func FitSize(n uint64) uint64 { return 1 << bits.Len64(n) }

func rate(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
