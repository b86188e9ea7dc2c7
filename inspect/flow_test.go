package inspect

import (
	"encoding/json"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// film is a track of a ring of 4096 bytes that is sampled once a second.
type film struct {
	track
	now time.Time
}

func newFilm() *film {
	return &film{track: track{stuckAfter: time.Second}, now: time.Unix(1000, 0)}
}

// frame is the positions at one sample.
type frame struct {
	consumer, producer uint64
	busy               bool
}

func (f *film) show(frames ...frame) {
	for _, fr := range frames {
		p := Positions{Consumer: fr.consumer, Producer: fr.producer}
		p.judge(4096, true)
		if fr.busy {
			p.Busy = &Busy{Pos: fr.consumer, Len: 8}
		}
		f.sample(f.now, p, 4096)
		f.now = f.now.Add(time.Second)
	}
}

func TestStates(t *testing.T) {
	const stuckFor = 2
	for _, tt := range []struct {
		rule   string
		frames []frame
		want   State
		since  int // seconds
	}{
		{"an empty ring is idle", []frame{{0, 0, false}, {0, 0, false}, {0, 0, false}}, Idle, 0},
		{"one that was emptied too", []frame{{0, 64, false}, {0, 64, false}, {64, 64, false}}, Idle, 0},
		{"data that has just come is no sign", []frame{{0, 0, false}, {0, 0, false}, {0, 64, false}}, Flowing, 0},
		{"nor is a first sample", []frame{{0, 4096, false}}, Flowing, 0},
		{"a consumer that moves, however slowly, is not stuck", []frame{{0, 4096, false}, {8, 4096, false}, {16, 4096, false}}, Flowing, 0},
		{"one that does not is, at the second sample", []frame{{0, 64, false}, {0, 64, false}}, ConsumerStuck, 1},
		{"also while data comes in", []frame{{0, 64, false}, {0, 128, false}, {0, 256, false}}, ConsumerStuck, stuckFor},
		{"a record that stays busy is its producer's fault", []frame{{0, 64, true}, {0, 64, true}, {0, 64, true}}, ProducerStuck, stuckFor},
		{"one that has just become the oldest is not yet", []frame{{0, 64, false}, {32, 64, true}}, Flowing, 0},
		{"a record that was busy for long and is committed just now is not its consumer's",
			[]frame{{0, 64, true}, {0, 64, true}, {0, 64, false}}, Flowing, 0},
		{"but if it then stays", []frame{{0, 64, true}, {0, 64, false}, {0, 64, false}}, ConsumerStuck, 1},
		{"positions that contradict each other", []frame{{0, 64, false}, {64, 0, false}}, Contradictory, 0},
		{"positions that did", []frame{{64, 0, false}, {0, 64, false}}, Flowing, 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFilm()
			f.show(tt.frames...)
			if f.flow.State != tt.want || f.flow.StuckFor != time.Duration(tt.since)*time.Second {
				t.Errorf("%s since %v, want %s since %ds", f.flow.State, f.flow.StuckFor, tt.want, tt.since)
			}
		})
	}
}

func TestSamplesThatAreTooCloseShowNothing(t *testing.T) {
	f := newFilm()
	p := Positions{Producer: 64, Backlog: 64}
	for range 3 {
		f.sample(f.now, p, 4096)
		f.now = f.now.Add(499 * time.Millisecond)
	}
	if f.flow.State != Flowing {
		t.Error(f.flow.State)
	}
	f.sample(f.now, p, 4096)
	if f.flow.State != ConsumerStuck {
		t.Error(f.flow.State)
	}
}

func TestAStuckConsumerOfAnOverwritingRing(t *testing.T) {
	f := newFilm()
	for i := range uint64(3) {
		over := i * 4096
		p := Positions{Consumer: 0, Producer: over + 4096, Overwrite: &over}
		p.judge(4096, true)
		f.sample(f.now, p, 4096)
		f.now = f.now.Add(time.Second)
	}
	if f.flow.State != ConsumerStuck || f.flow.Overwritten.Float64() != 8192 {
		t.Errorf("%s, %v bytes overwritten", f.flow.State, f.flow.Overwritten)
	}
	// Bytes that the consumer missed are counted only once.
	over := uint64(8192)
	f.sample(f.now, Positions{Consumer: 8192, Producer: 12288, Overwrite: &over}, 4096)
	if f.flow.Overwritten.Float64() != 8192 {
		t.Errorf("%v bytes overwritten", f.flow.Overwritten)
	}
}

func TestCounters(t *testing.T) {
	const top = 1<<64 - 1024
	for _, tt := range []struct {
		rule               string
		frames             []frame
		produced, consumed float64
	}{
		{"a ring's past counts", []frame{{500 * 8, 600 * 8, false}}, 4800, 4000},
		{"and what is added", []frame{{0, 64, false}, {64, 256, false}, {64, 1024, false}}, 1024, 64},
		{"across 2^64", []frame{{top, top, false}, {8, 512, false}}, top + 1536, top + 1032},
		{"twice", []frame{{top, top, false}, {1 << 62, 1 << 62, false}, {1 << 63, 1 << 63, false}, {3 << 62, 3 << 62, false}, {0, 0, false}},
			2 * (1 << 64), 2 * (1 << 64)},
		{"a position that is set back does not count back", []frame{{1024, 1024, false}, {64, 1024, false}}, 1024, 1024},
		{"nor do positions that contradict each other", []frame{{1024, 2048, false}, {1 << 40, 2048, false}, {1024, 2048, false}}, 2048, 1024},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFilm()
			f.show(tt.frames...)
			if f.flow.Produced.Float64() != tt.produced || f.flow.Consumed.Float64() != tt.consumed {
				t.Errorf("produced %v, consumed %v, want %v and %v", f.flow.Produced.Float64(), f.flow.Consumed.Float64(), tt.produced, tt.consumed)
			}
		})
	}
}

func TestRatesAndMarks(t *testing.T) {
	f := newFilm()
	f.show(frame{0, 0, false})
	if f.flow.ProducedRate != 0 || f.flow.Rates != nil {
		t.Errorf("after one sample: %+v", f.flow)
	}
	f.show(frame{0, 4088, false}, frame{1024, 4088, false}, frame{4088, 4096, false})
	if f.flow.ProducedRate != 8 || f.flow.ConsumedRate != 3064 {
		t.Errorf("rates %v and %v", f.flow.ProducedRate, f.flow.ConsumedRate)
	}
	if diff := gocmp.Diff([]float64{4088, 0, 8}, f.flow.Rates); diff != "" {
		t.Errorf("history of rates, -want +got:\n%s", diff)
	}
	if f.flow.HighWater != 4088 {
		t.Errorf("high water %d", f.flow.HighWater)
	}
	if f.flow.Saturated.Seconds() != 1 { // half of the interval before the full sample, and half of that after
		t.Errorf("saturated for %v", f.flow.Saturated)
	}
	// 15/16 of 4096 are 3840.
	f.show(frame{8192, 12032, false}, frame{8192, 12032, false}, frame{8200, 12032, false})
	if got := f.flow.Saturated.Seconds(); got != 1+0.5+1+0.5 {
		t.Errorf("saturated for %v s", got)
	}
	for range 2 * historyLen {
		f.show(frame{12032, 12032, false})
	}
	if len(f.flow.Rates) != historyLen || len(f.history) != historyLen || cap(f.history) > 2*historyLen {
		t.Errorf("a history of %d rates and %d positions", len(f.flow.Rates), len(f.history))
	}
}

func TestLag(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		frames  []frame
		lag     float64 // seconds
		atLeast bool
	}{
		{"an empty ring has none", []frame{{0, 0, false}, {64, 64, false}}, 0, false},
		{"what a first sample finds is of unknown age", []frame{{0, 64, false}}, 0, true},
		{"and gets older", []frame{{0, 64, false}, {0, 64, false}, {0, 64, false}}, 2, true},
		{"a record that came between two samples was not there at the first", []frame{{0, 0, false}, {0, 512, false}}, 1, false},
		{"between two samples production is taken to be even", []frame{{0, 0, false}, {0, 1024, false}, {768, 2048, false}}, 1.25, false},
		{"time without production is passed over", []frame{{0, 0, false}, {0, 1024, false}, {1024, 1024, false}, {1024, 1024, false}, {1024, 2048, false}}, 1, false},
		{"across 2^64", []frame{{1<<64 - 1024, 1<<64 - 1024, false}, {1<<64 - 1024, 0, false}, {1<<64 - 512, 1024, false}}, 1.5, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFilm()
			f.show(tt.frames...)
			if f.flow.Lag.Seconds() != tt.lag || f.flow.LagAtLeast != tt.atLeast {
				t.Errorf("%v, at least: %v", f.flow.Lag, f.flow.LagAtLeast)
			}
		})
	}
}

func TestLagBeyondTheHistory(t *testing.T) {
	f := newFilm()
	f.show(frame{0, 0, false}, frame{0, 8, false})
	for range 3 * historyLen {
		f.show(frame{0, 16, false})
	}
	if want := float64(3 * historyLen); f.flow.Lag.Seconds() != want || !f.flow.LagAtLeast {
		t.Errorf("%v, at least: %v, want %v s", f.flow.Lag, f.flow.LagAtLeast, want)
	}
}

// FuzzFlow checks that no positions that a process can write lead to impossible figures.
func FuzzFlow(f *testing.F) {
	f.Add(uint64(0), uint64(64), uint64(8), uint64(128), true)
	f.Add(uint64(1)<<63, uint64(0), ^uint64(0), uint64(1), false)
	f.Fuzz(func(t *testing.T, c1, p1, c2, p2 uint64, busy bool) {
		v := newFilm()
		var before float64
		for _, fr := range []frame{{0, 0, false}, {c1, p1, busy}, {c2, p2, false}, {c1, p1, busy}, {c2, p2, busy}} {
			v.show(fr)
			fl := v.flow
			if fl.Produced.Float64() < before || fl.HighWater > 4096 || fl.Lag < 0 || fl.StuckFor < 0 || fl.ProducedRate < 0 || fl.ConsumedRate < 0 {
				t.Fatalf("impossible: %+v", fl)
			}
			before = fl.Produced.Float64()
			if _, err := json.Marshal(fl); err != nil {
				t.Fatal(err)
			}
		}
	})
}
