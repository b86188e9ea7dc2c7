package clock

import (
	"testing"
	"time"
)

// booted is the second of the wall clock at which the host of the tests booted.
const booted = 1_700_000_000

// fake has clocks that a test sets.
type fake struct {
	Reading
	reads int
}

func (f *fake) pass(running, suspended time.Duration) {
	f.Mono += int64(running)
	f.Boot += int64(running + suspended)
	f.Real = f.Boot + booted*second
	f.TAI = f.Real + 37*second
}

func (f *fake) read() (Reading, bool) {
	f.reads++
	return f.Reading, true
}

func TestTimesOfTheKernelsClocks(t *testing.T) {
	f := &fake{}
	f.pass(100*time.Second, 50*time.Second)
	c := Clocks{read: f.read}
	check := func(what string, got int64, ok bool, want int64) {
		t.Helper()
		if want < 0 && ok || want >= 0 && (!ok || got != (booted+want)*second) {
			t.Errorf("%s: got %d, %v, want second %d", what, got, ok, booted+want)
		}
	}
	at := func(s int64) uint64 { return uint64(s * second) }
	got, ok := c.Monotonic(at(99))
	check("monotonic", got, ok, 149)
	got, ok = c.Monotonic(at(0))
	check("monotonic 0", got, ok, 50)
	got, ok = c.Boot(at(149))
	check("boot", got, ok, 149)
	got, ok = c.TAI(at(booted + 187))
	check("TAI", got, ok, 150)
	got, ok = c.Monotonic(at(103))
	check("the future", got, ok, -1)
	if f.reads != 2 {
		t.Errorf("%d readings, want the first and one for the future", f.reads)
	}

	f.pass(10*time.Second, 30*time.Second)
	got, ok = c.Monotonic(at(105))
	check("after a suspension", got, ok, 185)
	got, ok = c.Monotonic(at(99))
	check("before a suspension", got, ok, 149)

	for _, v := range []uint64{0, 1, at(111) / 1000, 1 << 63, 1<<64 - 1} {
		if got, ok := c.Guess(v); ok {
			t.Errorf("%d is %d", v, got)
		}
	}
	got, ok = c.Guess(at(108))
	check("like monotonic", got, ok, 188)
	got, ok = c.Guess(at(180))
	check("like boot", got, ok, 180)
	for unit, scale := range map[string]int64{"nanoseconds": 1, "microseconds": 1e3, "milliseconds": 1e6} {
		got, ok = c.Guess(at(booted+170) / uint64(scale))
		check("since 1970 in "+unit, got, ok, 170)
	}
	for _, old := range []uint64{at(booted) / 1e6 / 2, at(booted - 2*365*24*3600), at(booted-2*365*24*3600) / 1e3} {
		if got, ok := c.Guess(old); ok {
			t.Errorf("long ago: %d is %d", old, got)
		}
	}
}

// A number of milliseconds or seconds since 1970 can also be one of nanoseconds since boot.
func TestAmbiguousTimesAreNotGuessed(t *testing.T) {
	for _, up := range []time.Duration{time.Hour, 10 * time.Hour} {
		f := &fake{}
		f.pass(up, 0)
		c := Clocks{read: f.read}
		now := uint64(booted + up/time.Second)
		if got, ok := c.Guess(now * 1e3); ok {
			t.Errorf("up for %v: milliseconds %d are %d", up, now*1e3, got)
		}
		if got, ok := c.Guess(now); !ok || got != int64(now)*second {
			t.Errorf("up for %v: seconds %d are %d, %v", up, now, got, ok)
		}
		if got, ok := c.Guess(now * 1e3 / 2); up == time.Hour && (!ok || got != f.Real-f.Mono+int64(now*1e3/2)) {
			t.Errorf("up for %v: a time since boot is %d, %v", up, got, ok)
		}
	}
}

func TestUnreadableClocksTellNoTime(t *testing.T) {
	c := Clocks{read: func() (Reading, bool) { return Reading{}, false }}
	for name, f := range map[string]func(uint64) (int64, bool){"monotonic": c.Monotonic, "boot": c.Boot, "TAI": c.TAI, "guess": c.Guess} {
		if wall, ok := f(5); ok {
			t.Errorf("%s: %d", name, wall)
		}
	}
}

func TestTheClocksOfThisHost(t *testing.T) {
	r, ok := Read()
	if !ok {
		t.Fatal("the clocks cannot be read")
	}
	var c Clocks
	ways := map[string]func() (int64, bool){
		"monotonic": func() (int64, bool) { return c.Monotonic(uint64(r.Mono)) },
		"boot":      func() (int64, bool) { return c.Boot(uint64(r.Boot)) },
		"TAI":       func() (int64, bool) { return c.TAI(uint64(r.TAI)) },
		"guess day": func() (int64, bool) { return c.Guess(uint64(r.Real)) },
	}
	// Half an hour after boot, the nanoseconds since then are as many as the milliseconds since 1970.
	if _, ambiguous := sinceEpoch(r.Mono, r.Real); !ambiguous {
		ways["guess"] = func() (int64, bool) { return c.Guess(uint64(r.Mono)) }
	}
	for name, f := range ways {
		if wall, ok := f(); !ok || time.Since(time.Unix(0, wall)).Abs() > time.Minute {
			t.Errorf("%s: %v, %v", name, time.Unix(0, wall), ok)
		}
	}
}

func TestFaces(t *testing.T) {
	zone := time.FixedZone("", 3600)
	today := time.Now().In(zone).Truncate(time.Second)
	for _, tt := range []struct {
		face   *Face
		wall   int64
		digits int
		want   string
	}{
		{NewRFC3339(), 0, 9, "1970-01-01T00:00:00.000000000Z"},
		{NewRFC3339(), 1_767_323_045_123_456_789, 9, "2026-01-02T03:04:05.123456789Z"},
		{NewRFC3339(), -1, 3, "1969-12-31T23:59:59.999Z"},
		{NewTimeOfDay(zone), 1, 9, "1970-01-01T01:00:00.000000001"},
		{NewTimeOfDay(zone), today.UnixNano() + 999, 6, today.Format(time.TimeOnly) + ".000000"},
	} {
		for range 2 { // the second time from the text that is kept
			if got := string(tt.face.Append(nil, tt.wall, tt.digits)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		}
	}
	f := NewRFC3339()
	f.Append(nil, 0, 9)
	if got := string(f.Append(nil, 2e9+5, 9)); got != "1970-01-01T00:00:02.000000005Z" {
		t.Errorf("the next second: %s", got)
	}
}

// Times in the future, as those of a field that is no time, do not read all clocks each time.
func TestTimesInTheFuture(t *testing.T) {
	f := &fake{}
	f.pass(100*time.Second, 50*time.Second)
	c := Clocks{read: f.read, one: func(int32) (int64, bool) { return f.Mono, true }}
	future := uint64(200 * time.Second)
	for range 3 {
		if _, ok := c.Monotonic(future); ok || f.reads != 1 {
			t.Errorf("%v, %d readings", ok, f.reads)
		}
	}
	f.pass(2*time.Second, 0)
	if _, ok := c.Monotonic(uint64(102 * time.Second)); !ok || f.reads != 2 {
		t.Errorf("a time that has come: %v, %d readings", ok, f.reads)
	}
	if _, ok := c.Monotonic(future); ok || f.reads != 2 {
		t.Errorf("a time that has not: %v, %d readings", ok, f.reads)
	}
}
