package ring

import (
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
)

// Types of the JSON output of drops. Scripts rely on the member names: they must not change. What is null or missing is
// unknown.

type lossesJSON struct {
	From   time.Time      `json:"from"`
	To     time.Time      `json:"to"`
	Engine *engineJSON    `json:"engine"` // null: nothing can be counted
	Tried  []triedJSON    `json:"engines_tried,omitempty"`
	Rings  []lossRingJSON `json:"rings"`
	Quiet  int            `json:"quiet_rings"` // left out of rings: no program wrote to them
	Notes  []string       `json:"notes,omitempty"`
}

type engineJSON struct {
	Name   string   `json:"name"`
	Why    string   `json:"why"`
	Cost   int64    `json:"call_cost_ns"` // that a reservation takes longer; 0: too small to measure
	Limits []string `json:"limits,omitempty"`
}

// triedJSON is an engine that does not work here.
type triedJSON struct {
	Engine string `json:"engine"`
	Probe  string `json:"probe"`
	Error  string `json:"error"`
}

type lossRingJSON struct {
	ID   ebpf.MapID `json:"id"`
	Name string     `json:"name"`
	Type string     `json:"type"`
	Size uint64     `json:"bytes"`
	*lossCountsJSON
	*userJSON
	HighWater uint64           `json:"high_water,omitempty"`
	Saturated float64          `json:"saturated_seconds"`
	State     inspect.State    `json:"state,omitempty"`
	Advice    []command.Advice `json:"advice,omitempty"`
	*figuresJSON
}

type lossCountsJSON struct {
	Reservations uint64       `json:"reservations"`
	Failures     uint64       `json:"failures"`
	FailuresLow  uint64       `json:"failures_low"`
	FailuresHigh uint64       `json:"failures_high"`
	Share        float64      `json:"share_lost"`
	Bytes        uint64       `json:"reservation_bytes"`
	FailedBytes  uint64       `json:"failure_bytes"`
	Invalid      uint64       `json:"invalid"`
	Overwritten  uint64       `json:"overwritten_bytes,omitempty"`
	Needed       uint64       `json:"needed_bytes,omitempty"`
	Contended    uint64       `json:"contended"`
	First        *time.Time   `json:"first_failure,omitempty"`
	Last         *time.Time   `json:"last_failure,omitempty"`
	Worst        *secondJSON  `json:"worst_second,omitempty"`
	Seconds      []secondJSON `json:"seconds,omitempty"`
	Programs     []callerJSON `json:"programs"`
	CPUs         []cpuJSON    `json:"cpus,omitempty"`
	Sizes        []sizeJSON   `json:"sizes,omitempty"`
}

type secondJSON struct {
	Time        time.Time `json:"time"`
	Failures    uint64    `json:"failures"`
	FailedBytes uint64    `json:"failure_bytes"`
}

type countsJSON struct {
	Reservations uint64 `json:"reservations"`
	Failures     uint64 `json:"failures"`
	FailedBytes  uint64 `json:"failure_bytes"`
}

type callerJSON struct {
	ID       ebpf.ProgramID `json:"id"` // 0: unknown
	Name     string         `json:"name"`
	Function string         `json:"function,omitempty"`
	Type     string         `json:"type,omitempty"`
	Loaded   bool           `json:"loaded"`
	Attached []placeJSON    `json:"attached"`
	MinSize  uint64         `json:"min_record_bytes"`
	MaxSize  uint64         `json:"max_record_bytes"`
	countsJSON
}

type placeJSON struct {
	Type   string `json:"type"`
	Target string `json:"target,omitempty"`
}

type cpuJSON struct {
	CPU int `json:"cpu"`
	countsJSON
}

type sizeJSON struct {
	Min uint64 `json:"min_record_bytes"`
	Max uint64 `json:"max_record_bytes"`
	countsJSON
}

// figuresJSON are the figures on which advice is based.
type figuresJSON struct {
	Sizing    sizingJSON `json:"sizing"`
	Tails     []tailJSON `json:"tails,omitempty"`
	Records   uint64     `json:"records_seen"`
	Discarded uint64     `json:"records_discarded"`
	Sleeps    uint64     `json:"consumer_sleeps"`
}

type sizingJSON struct {
	Verdict     drops.Verdict `json:"verdict,omitempty"` // missing: nothing was counted
	Suggested   uint64        `json:"suggested_bytes,omitempty"`
	Need        uint64        `json:"need_bytes"`
	AtLeast     bool          `json:"at_least,omitempty"`
	WriteRate   float64       `json:"write_bytes_per_second"`
	ConsumeRate float64       `json:"consume_bytes_per_second"`
	Pause       float64       `json:"longest_pause_seconds"`
	PauseBytes  uint64        `json:"longest_pause_bytes"`
}

type tailJSON struct {
	Len     uint32  `json:"record_bytes"`
	Records uint64  `json:"records"`
	Unused  uint64  `json:"unused_bytes"`
	Least   uint32  `json:"least_unused_bytes"`
	Gain    float64 `json:"gain"`
}

func jsonLosses(r *lossReport) lossesJSON {
	doc := lossesJSON{From: r.from.UTC(), To: r.to.UTC(), Quiet: r.quiet, Notes: r.notes, Rings: []lossRingJSON{}}
	if e := r.engine; e != nil {
		doc.Engine = &engineJSON{e.Engine.String(), e.Why, e.CallCost.Nanoseconds(), e.Limits}
	}
	for _, e := range r.lacking {
		doc.Tried = append(doc.Tried, triedJSON{e.Engine.String(), e.Probe, command.WithoutMemlock(e.Err)})
	}
	for i := range r.rings {
		doc.Rings = append(doc.Rings, jsonLossRing(&r.rings[i]))
	}
	return doc
}

func jsonLossRing(l *lossOf) lossRingJSON {
	j := lossRingJSON{ID: l.id, Name: l.name, Type: maptype.Name(l.typ), Size: l.size, Saturated: l.full.Seconds(), Advice: l.advice}
	if l.flow != nil {
		j.HighWater, j.State = l.flow.HighWater, l.flow.State
	}
	if l.counts != nil {
		j.lossCountsJSON = jsonLossCounts(l.counts)
	}
	j.userJSON = jsonUser(l)
	if f := l.figures; f != nil {
		s := &f.Sizing
		j.figuresJSON = &figuresJSON{
			Sizing:  sizingJSON{s.Verdict, s.Suggested, s.Need, s.AtLeast, s.WriteRate, s.ConsumeRate, s.Pause.Seconds(), s.PauseBytes},
			Records: f.Records, Discarded: f.Discarded, Sleeps: f.Sleeps,
		}
		if l.counts == nil {
			j.Sizing.Verdict = ""
		}
		for _, t := range f.Tails[:min(len(f.Tails), mostListed)] {
			j.Tails = append(j.Tails, tailJSON{t.Len, t.Records, t.Unused, t.Least, t.Gain()})
		}
	}
	return j
}

func jsonLossCounts(c *drops.Ring) *lossCountsJSON {
	j := &lossCountsJSON{
		Reservations: c.Calls, Failures: c.Failed, FailuresLow: c.FailedLow, FailuresHigh: c.FailedHigh,
		Bytes: c.CallBytes, FailedBytes: c.FailedBytes, Invalid: c.Invalid, Overwritten: c.Overwritten, Needed: c.Needed, Contended: c.Contended,
		Programs: []callerJSON{},
	}
	if c.Calls > 0 {
		j.Share = float64(c.Failed) / float64(c.Calls)
	}
	if !c.FirstFailure.IsZero() {
		first, last := c.FirstFailure.UTC(), c.LastFailure.UTC()
		worst := jsonSecond(c.Worst)
		j.First, j.Last, j.Worst = &first, &last, &worst
	}
	for _, s := range c.Seconds {
		j.Seconds = append(j.Seconds, jsonSecond(s))
	}
	for i := range c.Callers {
		j.Programs = append(j.Programs, jsonCaller(&c.Callers[i]))
	}
	for _, one := range c.CPUs {
		j.CPUs = append(j.CPUs, cpuJSON{one.CPU, jsonCounts(one.Counts)})
	}
	for _, one := range c.Sizes {
		j.Sizes = append(j.Sizes, sizeJSON{one.Min, one.Max, jsonCounts(one.Counts)})
	}
	return j
}

func jsonCaller(c *drops.Caller) callerJSON {
	j := callerJSON{
		ID: c.Program, Name: c.Name, Function: c.Function, Loaded: c.Loaded, MinSize: c.MinSize, MaxSize: c.MaxSize,
		Attached: []placeJSON{}, countsJSON: jsonCounts(c.Counts),
	}
	if c.Program != 0 {
		j.Type = strings.ToLower(c.Type.String())
	}
	for _, a := range c.Attached {
		j.Attached = append(j.Attached, placeJSON{a.Type, a.Target})
	}
	return j
}

func jsonSecond(s drops.Second) secondJSON {
	return secondJSON{s.Time.UTC(), s.Failed, s.FailedBytes}
}

func jsonCounts(c drops.Counts) countsJSON { return countsJSON{c.Calls, c.Failed, c.FailedBytes} }
