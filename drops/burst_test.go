package drops

import (
	"testing"
	"time"
)

// load is what happens to a ring in a tenth of a second.
type load struct{ written, consumed, refused uint64 }

// played returns the sizing of a ring of 4096 bytes.
func played(start uint64, loads ...load) Sizing {
	b := NewBurst(4096)
	m := Moment{At: time.Unix(1000, 0), Consumer: start, Producer: start}
	b.Add(m)
	for _, l := range loads {
		m.At = m.At.Add(100 * time.Millisecond)
		m.Consumer += l.consumed
		m.Producer += l.written
		m.Refused += l.refused
		b.Add(m)
	}
	return b.Sizing()
}

func TestSizing(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		loads     []load
		want      Verdict
		suggested uint64
		need      uint64
		atLeast   bool
	}{
		{"a ring that refuses nothing fits, however full", []load{{4088, 0, 0}, {0, 4088, 0}}, Fits, 0, 4088, false},
		{"what was refused is added to a full ring", []load{{4088, 0, 3000}, {0, 4088, 0}}, Enlarge, 8192, 7096, false},
		{"a ring that is exactly full is too small: 8 bytes stay free", []load{{4088, 0, 4096}, {0, 4088, 0}}, Enlarge, 16384, 8192, false},
		{"bursts between which the consumer catches up do not add up",
			[]load{{4088, 0, 3000}, {0, 4088, 0}, {4088, 0, 2000}, {0, 4000, 0}}, Enlarge, 8192, 7096, false},
		{"but those between which it does not do", []load{{4088, 0, 3000}, {1000, 1000, 2000}, {0, 4000, 0}}, Enlarge, 16384, 9096, false},
		{"a consumer that never catches up is too slow", []load{{4088, 0, 1000}, {1000, 1000, 1000}, {1000, 1000, 1000}}, TooSlow, 0, 7096, true},
		{"unless it consumed faster than programs wrote, so far",
			[]load{{8, 0, 0}, {0, 8, 0}, {0, 0, 0}, {0, 0, 0}, {4000, 0, 0}, {96, 2000, 8}, {0, 900, 0}}, Enlarge, 8192, 4104, true},
		{"one that does not move at all does not consume", []load{{4088, 0, 1000}, {0, 0, 1000}}, Unconsumed, 0, 6096, true},
		{"no ring holds 2 GiB", []load{{4088, 0, 1 << 31}, {0, 4088, 0}}, TooLarge, 0, 1<<31 + 4096, false},
		{"refusals that stop before the first moment do not count", []load{{8, 8, 0}}, Fits, 0, 0, false},
	} {
		for _, start := range []uint64{0, 1<<64 - 2048} { // positions wrap around
			s := played(start, tt.loads...)
			if s.Verdict != tt.want || s.Suggested != tt.suggested || s.Need != tt.need || s.AtLeast != tt.atLeast {
				t.Errorf("%s: %s, suggested %d, need %d, at least: %v; want %s, %d, %d, %v",
					tt.rule, s.Verdict, s.Suggested, s.Need, s.AtLeast, tt.want, tt.suggested, tt.need, tt.atLeast)
			}
		}
	}
}

func TestPausesAndRates(t *testing.T) {
	s := played(0, load{written: 1000}, load{written: 500, refused: 100}, load{written: 200}, load{consumed: 1700}, load{}, load{written: 8})
	// The ring was empty at the start of the first interval, so the pause begins with the second.
	if s.Pause != 200*time.Millisecond || s.PauseBytes != 800 {
		t.Errorf("pause of %v with %d bytes", s.Pause, s.PauseBytes)
	}
	if s.WriteRate != 1808/0.6 || s.ConsumeRate != 1700/0.3 {
		t.Errorf("rates %v and %v", s.WriteRate, s.ConsumeRate)
	}
	if s.Backlog != 1700 || s.Written != 1808 || s.Consumed != 1700 || s.Refused != 100 {
		t.Errorf("%+v", s)
	}
}

func TestFitSize(t *testing.T) {
	for n, want := range map[uint64]uint64{0: 1, 8: 16, 4088: 4096, 4095: 4096, 4096: 8192, 1<<31 - 8: 1 << 31, 1 << 31: 1 << 32} {
		if got := FitSize(n); got != want {
			t.Errorf("a ring of %d bytes for %d, want %d", got, n, want)
		}
	}
}

func TestABetterBoundLowersTheNeed(t *testing.T) {
	s := played(0, load{4088, 0, 9000}, load{0, 4088, 0})
	if s.Lower(6000); s.Need != 6000 || s.Extra != 6000-4096 || s.Suggested != 8192 {
		t.Errorf("%+v", s)
	}
	if s.Lower(7000); s.Need != 6000 {
		t.Errorf("a bound that is not better counts: %+v", s)
	}
	slow := played(0, load{4088, 0, 1000}, load{1000, 1000, 1000})
	if slow.Lower(1); slow.Suggested != 0 || slow.Need == 1 {
		t.Errorf("no size helps, but %+v", slow)
	}
}
