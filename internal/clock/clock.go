// Package clock converts times of the kernel's clocks, as BPF programs put them into records, to the time
// of day, and shows it.
package clock

import (
	"math"

	"golang.org/x/sys/unix"
)

// Clocks converts times of the clocks of this host. All times are in nanoseconds, wall times since 1970. The
// zero value is ready for use, by one goroutine at a time.
//
// CLOCK_MONOTONIC stops while the host is suspended, and the time of day can be set. So the clocks are read
// again for times that are more than a second newer than the last reading. A suspension before the first
// reading is not seen: times of CLOCK_MONOTONIC from before it are shown too late.
type Clocks struct {
	read  func() (Reading, bool)              // reads the clocks; nil reads those of the kernel
	one   func(id int32) (now int64, ok bool) // reads one clock; nil reads that of the kernel
	last  Reading
	spans []span // in ascending order
}

// Reading is what the clocks showed at one moment. Real is CLOCK_REALTIME, the time of day.
type Reading struct{ Mono, Boot, Real, TAI int64 }

// From returns Clocks of another host or time. read reads its clocks.
func From(read func() (Reading, bool)) *Clocks { return &Clocks{read: read} }

// span is a time without suspension.
type span struct {
	from      int64 // by CLOCK_MONOTONIC
	suspended int64 // time in suspension before it
}

const (
	second = int64(1e9)
	day    = 24 * 3600 * second
	year   = 365 * day
)

// Monotonic returns the wall time of a time of CLOCK_MONOTONIC, and false if that is in the future.
func (c *Clocks) Monotonic(v uint64) (wall int64, ok bool) {
	t := clamp(v)
	if !c.refresh(t, &c.last.Mono, unix.CLOCK_MONOTONIC) || t > c.last.Mono+second {
		return 0, false
	}
	suspended := c.spans[0].suspended
	for _, s := range c.spans[1:] {
		if t >= s.from {
			suspended = s.suspended
		}
	}
	return c.wallOfBoot(t + suspended), true
}

// Boot returns the wall time of a time of CLOCK_BOOTTIME, and false if that is in the future.
func (c *Clocks) Boot(v uint64) (wall int64, ok bool) {
	t := clamp(v)
	ok = c.refresh(t, &c.last.Boot, unix.CLOCK_BOOTTIME)
	return c.wallOfBoot(t), ok && t <= c.last.Boot+second
}

func (c *Clocks) wallOfBoot(t int64) int64 { return t + c.last.Real - c.last.Boot }

// TAI returns the wall time of a time of CLOCK_TAI, and false if that is not within a year of now.
func (c *Clocks) TAI(v uint64) (wall int64, ok bool) {
	t := clamp(v)
	ok = c.refresh(t, &c.last.TAI, unix.CLOCK_TAI)
	return t + c.last.Real - c.last.TAI, ok && within(t, c.last.TAI)
}

// Guess returns the wall time of v, a time of an unknown clock: CLOCK_MONOTONIC, CLOCK_BOOTTIME or that of
// the day, which can also count microseconds, milliseconds or seconds. It returns false if v is no recent time of any,
// or can be a time since boot and one since 1970.
func (c *Clocks) Guess(v uint64) (wall int64, ok bool) {
	t := clamp(v)
	if !c.refresh(t, &c.last.Mono, unix.CLOCK_MONOTONIC) {
		return 0, false
	}
	wall, ok = sinceEpoch(t, c.last.Real)
	// Times since boot in other units, such as microseconds and jiffies, are far smaller.
	recent := func(now int64) bool { return t >= now/100 && t <= now+second }
	switch {
	case !recent(c.last.Mono) && !recent(c.last.Boot):
		return wall, ok
	case ok:
		return 0, false
	case recent(c.last.Mono):
		return c.Monotonic(v)
	}
	return c.Boot(v)
}

// sinceEpoch returns the wall time of a time since 1970 in nanoseconds or a coarser unit, and false if it is not near
// now in any. No number is near in two units.
func sinceEpoch(t, now int64) (wall int64, ok bool) {
	for _, unit := range []struct{ scale, back int64 }{
		{1, year}, {1e3, year},
		// A time since boot in nanoseconds is such a number only for minutes, so that older ones can count.
		{1e6, 5 * year}, {1e9, 5 * year},
	} {
		if n := now / unit.scale; t > n-unit.back/unit.scale && t < n+day/unit.scale {
			return t * unit.scale, true
		}
	}
	return 0, false
}

// within reports whether t is within a year before now, or a day after it.
func within(t, now int64) bool { return t > now-year && t < now+day }

func clamp(v uint64) int64 { return int64(min(v, math.MaxInt64)) }

// refresh reads the clocks if t is more than a second after the last reading of its clock, which has the id. It returns false if
// they have never been read.
func (c *Clocks) refresh(t int64, last *int64, id int32) bool {
	if c.spans == nil || t > *last+second && c.passed(*last, id) {
		c.update()
	}
	return c.spans != nil
}

// passed reports whether a second has passed by a clock since its last reading. If not, a later time is in the future: to read all
// clocks takes 30 µs.
func (c *Clocks) passed(last int64, id int32) bool {
	if c.read != nil && c.one == nil {
		return true // they are not this host's
	}
	one := c.one
	if one == nil {
		one = readOne
	}
	now, ok := one(id)
	return !ok || now > last+second
}

func readOne(id int32) (now int64, ok bool) {
	var t unix.Timespec
	ok = unix.ClockGettime(id, &t) == nil
	return t.Nano(), ok
}

// update reads the clocks.
func (c *Clocks) update() {
	read := c.read
	if read == nil {
		read = Read
	}
	now, ok := read()
	if !ok {
		return
	}
	suspended := now.Boot - now.Mono
	const jitter = 1e6 // between the readings of two clocks
	switch n := len(c.spans); {
	case n == 0:
		c.spans = append(c.spans, span{suspended: suspended})
	case suspended > c.spans[n-1].suspended+jitter:
		// The suspension began within the second after the last reading: a later time would have
		// caused a new one.
		c.spans = append(c.spans, span{c.last.Mono + second, suspended})
	}
	c.last = now
}

// Read reads the kernel's clocks, as far as possible at the same moment. It returns false if it cannot.
func Read() (best Reading, ok bool) {
	least := int64(math.MaxInt64)
	for range 3 {
		before, r, after := int64(0), Reading{}, int64(0)
		ok := true
		for _, read := range []struct {
			to *int64
			id int32
		}{{&before, unix.CLOCK_MONOTONIC}, {&r.Real, unix.CLOCK_REALTIME}, {&r.Boot, unix.CLOCK_BOOTTIME}, {&r.TAI, unix.CLOCK_TAI}, {&after, unix.CLOCK_MONOTONIC}} {
			now, told := readOne(read.id)
			*read.to, ok = now, ok && told
		}
		if !ok {
			return best, false
		}
		if r.Mono = (before + after) / 2; after-before < least {
			least, best = after-before, r
		}
	}
	return best, true
}
