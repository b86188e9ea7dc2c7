package metrics

import (
	"fmt"
	"strconv"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
)

// Losses are what was counted of records that rings refused, and what counting costs.
type Losses struct {
	Engine drops.EngineInfo
	// Report has the failed reservations. The caller must not change it.
	Report *drops.Report
	// Drains are the results of bpf_user_ringbuf_drain by user ring; nil if they are not counted.
	Drains []Drains
}

// Drains are the calls of bpf_user_ringbuf_drain for one user ring, those that failed by their error.
type Drains struct {
	Map                           ebpf.MapID
	Calls                         uint64
	Samples                       uint64 // drained by the calls that succeeded
	Busy, Invalid, TooBig, Failed uint64 // with -EBUSY, -EINVAL, -E2BIG and other errors
}

var (
	reservations = ringDesc("reservations_total", "Reservations that programs tried, while they are counted.")
	failed       = desc("ring_failed_reservations_total", "Reservations that failed: lost records, by the program that tried.", "id", "name", "program")
	failedBytes  = desc("ring_failed_reservation_bytes_total", "Space that failed reservations asked for, headers and padding included.", "id", "name", "program")
	uncertain    = ringDesc("failed_reservations_uncertain", "How far the bounds of the number of failed reservations are apart; 0 if it is exact.")
	drains       = ringDesc("drains_total", "Calls of bpf_user_ringbuf_drain for a user ring, while they are counted.")
	failedDrains = desc("ring_failed_drains_total", "Calls of bpf_user_ringbuf_drain that failed, by error.", "id", "name", "error")

	engine      = desc("drops_engine_info", "What counts failed reservations: fexit or breakpoint.", "engine")
	callsTotal  = desc("drops_calls_total", "Reservations of all rings that were counted.")
	missedTotal = desc("drops_missed_calls_total", "Reservations that are known not to have been counted.")
	callCost    = desc("drops_call_cost_seconds", "How much longer a reservation takes because it is counted, measured at the start; 0 if it is too little to be measured.")
	costTotal   = desc("drops_cost_seconds_total", "CPU time that counting reservations has cost, estimated: counted calls times their cost.")
)

// caller is the labels of the failed reservations of a program.
type caller [3]string

// losses are the last Losses, and counts that must not decrease.
type losses struct {
	*Losses
	calls float64
	// failed has records and bytes. An estimate may be corrected downwards later, a counter must not be.
	failed map[caller][2]float64
}

// UpdateLosses sets the losses that scrapes get from now on. Before its first call the Collector exports no metrics of
// failed reservations.
func (c *Collector) UpdateLosses(now *Losses) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.losses
	c.losses = losses{Losses: now, failed: map[caller][2]float64{}}
	calls := now.Report.Unattributed
	for i := range now.Report.Rings {
		r := &now.Report.Rings[i]
		calls += r.Calls
		if r.Gone {
			continue
		}
		for j := range r.Callers {
			k := callerOf(r, &r.Callers[j])
			n := c.losses.failed[k]
			n[0] += float64(r.Callers[j].Failed)
			n[1] += float64(r.Callers[j].FailedBytes)
			c.losses.failed[k] = n
		}
	}
	for k, n := range c.losses.failed {
		was := before.failed[k]
		c.losses.failed[k] = [2]float64{max(n[0], was[0]), max(n[1], was[1])}
	}
	c.losses.calls = max(float64(calls), before.calls)
}

// callerOf returns the labels of a caller. Programs of one name share a series: it goes on when one is loaded again.
func callerOf(r *drops.Ring, c *drops.Caller) caller {
	name := c.Name
	switch {
	case name != "":
	case c.Program != 0:
		name = fmt.Sprintf("id:%d", c.Program)
	default:
		name = "unknown"
	}
	return caller{strconv.FormatUint(uint64(r.ID), 10), clean(r.Name), clean(name)}
}

// emitLosses emits the metrics of losses.
func (c *Collector) emitLosses(e emitter) {
	l := &c.losses
	if l.Losses == nil {
		return
	}
	e.gauge(engine, 1, l.Engine.Engine.String())
	e.counter(callsTotal, l.calls)
	e.counter(missedTotal, float64(l.Report.Missed))
	e.gauge(callCost, l.Engine.CallCost.Seconds())
	e.counter(costTotal, l.calls*l.Engine.CallCost.Seconds())
	for k, n := range l.failed {
		e.counter(failed, n[0], k[:]...)
		e.counter(failedBytes, n[1], k[:]...)
	}
	for i := range l.Report.Rings {
		if r := &l.Report.Rings[i]; !r.Gone {
			id, name := strconv.FormatUint(uint64(r.ID), 10), clean(r.Name)
			e.counter(reservations, float64(r.Calls), id, name)
			e.gauge(uncertain, float64(r.FailedHigh-r.FailedLow), id, name)
		}
	}
	c.emitDrains(e)
}

// emitDrains emits the metrics of the user rings that the last sample has.
func (c *Collector) emitDrains(e emitter) {
	names := map[ebpf.MapID][2]string{}
	for i := range c.sample.Maps {
		m := &c.sample.Maps[i]
		names[m.ID] = labelsOf(m)
	}
	for _, d := range c.losses.Drains {
		labels, there := names[d.Map]
		if !there {
			continue
		}
		e.counter(drains, float64(d.Calls), labels[:]...)
		for _, f := range []struct {
			err string
			n   uint64
		}{{"EBUSY", d.Busy}, {"EINVAL", d.Invalid}, {"E2BIG", d.TooBig}, {"other", d.Failed}} {
			e.counter(failedDrains, float64(f.n), labels[0], labels[1], f.err)
		}
	}
}
