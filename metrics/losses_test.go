package metrics

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
)

func newLosses() *Losses {
	return &Losses{
		Engine: drops.EngineInfo{Engine: drops.Breakpoint, CallCost: 2 * time.Microsecond},
		Report: &drops.Report{Missed: 4, Unattributed: 5, Rings: []drops.Ring{
			{ID: 12, Name: "events", Calls: 995, Failed: 30, FailedLow: 29, FailedHigh: 32, Callers: []drops.Caller{
				{Counts: drops.Counts{Calls: 500, Failed: 20, FailedBytes: 2000}, Program: 3, Name: "on_exec", Function: "a"},
				{Counts: drops.Counts{Calls: 300, Failed: 8, FailedBytes: 800}, Program: 4, Name: "on_exec", Function: "b"},
				{Counts: drops.Counts{Calls: 190, Failed: 2, FailedBytes: 200}, Program: 5},
				{Counts: drops.Counts{Calls: 5}},
			}},
			{ID: 7, Name: "earlier", Gone: true, Calls: 1000, Failed: 10, Callers: []drops.Caller{{Name: "other", Counts: drops.Counts{Failed: 10}}}},
		}},
		Drains: []Drains{{Map: 14, Calls: 9, Samples: 100, Busy: 1, Invalid: 2, TooBig: 3, Failed: 0}, {Map: 99, Calls: 1}},
	}
}

// withUserRing is a sample with a user ring of id 14.
func withUserRing() *inspect.Report {
	sample := newSample()
	sample.Maps = append(sample.Maps, inspect.Map{ID: 14, Name: "commands", Type: ebpf.UserRingbuf, Bytes: 4096})
	return sample
}

func TestLosses(t *testing.T) {
	c := NewCollector()
	c.Update(withUserRing(), nil, time.Millisecond)
	if n := testutil.CollectAndCount(c, "rbtool_drops_engine_info", "rbtool_drops_calls_total"); n != 0 {
		t.Errorf("%d series before losses are counted", n)
	}
	c.UpdateLosses(newLosses())
	series := gather(t, c)
	for name, want := range map[string]float64{
		`rbtool_ring_failed_reservations_total,id="12",name="events",program="on_exec"`:      28, // programs of one name share a series
		`rbtool_ring_failed_reservations_total,id="12",name="events",program="id:5"`:         2,
		`rbtool_ring_failed_reservations_total,id="12",name="events",program="unknown"`:      0,
		`rbtool_ring_failed_reservation_bytes_total,id="12",name="events",program="on_exec"`: 2800,
		`rbtool_ring_reservations_total,id="12",name="events"`:                               995,
		`rbtool_ring_failed_reservations_uncertain,id="12",name="events"`:                    3,
		`rbtool_ring_drains_total,id="14",name="commands"`:                                   9,
		`rbtool_ring_failed_drains_total,error="EBUSY",id="14",name="commands"`:              1,
		`rbtool_ring_failed_drains_total,error="EINVAL",id="14",name="commands"`:             2,
		`rbtool_ring_failed_drains_total,error="E2BIG",id="14",name="commands"`:              3,
		`rbtool_ring_failed_drains_total,error="other",id="14",name="commands"`:              0,
		`rbtool_drops_engine_info,engine="breakpoint"`:                                       1,
		`rbtool_drops_calls_total`:        2000,
		`rbtool_drops_missed_calls_total`: 4,
		`rbtool_drops_call_cost_seconds`:  2e-6,
		`rbtool_drops_cost_seconds_total`: 4e-3,
	} {
		if m := series[name]; m == nil || m.GetCounter().GetValue()+m.GetGauge().GetValue() != want {
			t.Errorf("%s: %v, want %v", name, m, want)
		}
	}
	for _, name := range []string{
		`rbtool_ring_failed_reservations_total,id="7",name="earlier",program="other"`, `rbtool_ring_reservations_total,id="7",name="earlier"`,
		`rbtool_ring_drains_total,id="99",name=""`,
	} {
		if series[name] != nil {
			t.Errorf("%s is there", name)
		}
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// An estimate that is corrected downwards is no decrease of a counter, which servers take for a restart.
func TestCountersOfLossesDoNotDecrease(t *testing.T) {
	c := NewCollector()
	c.Update(withUserRing(), nil, time.Millisecond)
	c.UpdateLosses(newLosses())
	const failed, calls = `rbtool_ring_failed_reservations_total,id="12",name="events",program="on_exec"`, `rbtool_drops_calls_total`
	for _, tt := range []struct{ now, want uint64 }{{19, 28}, {25, 33}, {24, 33}} {
		l := newLosses()
		l.Report.Rings = l.Report.Rings[:1] // a ring is forgotten
		l.Report.Rings[0].Callers[0].Failed = tt.now
		c.UpdateLosses(l)
		series := gather(t, c)
		if n := series[failed].Counter.GetValue(); n != float64(tt.want) {
			t.Errorf("%d: %v, want %d", tt.now, n, tt.want)
		}
		if n := series[calls].Counter.GetValue(); n != 2000 {
			t.Errorf("%v calls", n)
		}
	}
}
