package host

import (
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
)

// Types of the JSON output of ls, inspect and top. Scripts rely on the member names: they must not
// change.

// reportJSON is a list of maps.
type reportJSON struct {
	Time  *time.Time `json:"time,omitempty"` // when the sample was taken
	Maps  []mapJSON  `json:"maps"`
	Notes []string   `json:"notes,omitempty"`
}

// mapJSON is a map. If an object or array is missing or null, its content is unknown.
type mapJSON struct {
	ID       ebpf.MapID `json:"id"`
	Name     string     `json:"name"`
	Type     string     `json:"type"`
	Bytes    uint64     `json:"bytes"`
	Flags    uint32     `json:"flags"`
	MapExtra uint64     `json:"map_extra"`
	Memory   uint64     `json:"memory"`
	*positionsJSON
	*arenaJSON
	Users         []userJSON    `json:"owners"`
	UnseenWriters int           `json:"unseen_writers,omitempty"`
	Programs      []programJSON `json:"programs"`
	Pins          []string      `json:"pins"`
	Notes         []string      `json:"notes,omitempty"`
	*flowJSON
	Drops *dropsJSON `json:"drops,omitempty"`
}

type positionsJSON struct {
	Consumer  uint64    `json:"consumer_pos"`
	Producer  uint64    `json:"producer_pos"`
	Pending   *uint64   `json:"pending_pos,omitempty"`
	Overwrite *uint64   `json:"overwrite_pos,omitempty"`
	Backlog   uint64    `json:"backlog"`
	Fill      float64   `json:"fill"`
	Busy      *busyJSON `json:"busy,omitempty"`
	// Refused is what the producers of a user ring have refused since its creation.
	Refused *command.RefusedJSON `json:"refused,omitempty"`
}

type busyJSON struct {
	Pos uint64 `json:"pos"`
	Len uint32 `json:"len"`
}

type arenaJSON struct {
	UserBase uint64  `json:"user_base"`
	Pages    *uint64 `json:"pages,omitempty"`
}

type userJSON struct {
	PID       int    `json:"pid"`
	Comm      string `json:"comm"`
	Self      bool   `json:"self"`
	Unit      string `json:"unit,omitempty"`
	Runtime   string `json:"runtime,omitempty"`
	Container string `json:"container,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Holds     bool   `json:"holds"`
	Mapped    bool   `json:"mapped"`
	Consumes  bool   `json:"consumes"`
	Produces  bool   `json:"produces"`
	Exact     bool   `json:"exact"`
	Why       string `json:"why,omitempty"`
}

type programJSON struct {
	ID       ebpf.ProgramID   `json:"id"`
	Name     string           `json:"name"`
	Type     string           `json:"type"`
	Via      ebpf.MapID       `json:"via,omitempty"`
	Attached []attachmentJSON `json:"attached"`
}

type attachmentJSON struct {
	Link   link.ID `json:"link,omitempty"`
	Type   string  `json:"type"`
	Target string  `json:"target"`
}

// flowJSON is the flow through a ring. Totals below 2^64 are integers, larger ones floats.
type flowJSON struct {
	Produced     any           `json:"produced_bytes"`
	Consumed     any           `json:"consumed_bytes"`
	Overwritten  any           `json:"overwritten_bytes"`
	ProducedRate float64       `json:"produced_bytes_per_second"`
	ConsumedRate float64       `json:"consumed_bytes_per_second"`
	HighWater    uint64        `json:"high_water_bytes"`
	Saturated    float64       `json:"saturated_seconds"`
	Lag          float64       `json:"lag_seconds"`
	LagAtLeast   bool          `json:"lag_at_least"`
	State        inspect.State `json:"state"`
	StuckFor     float64       `json:"stuck_seconds"`
}

// dropsJSON has the failed reservations of a ring. The names are those of the command drops.
type dropsJSON struct {
	Reservations uint64       `json:"reservations"`
	Failures     uint64       `json:"failures"`
	FailuresLow  uint64       `json:"failures_low"`
	FailuresHigh uint64       `json:"failures_high"`
	FailedBytes  uint64       `json:"failure_bytes"`
	Programs     []callerJSON `json:"programs"`
}

type callerJSON struct {
	ID           ebpf.ProgramID `json:"id"` // 0: unknown
	Name         string         `json:"name"`
	Function     string         `json:"function,omitempty"`
	Reservations uint64         `json:"reservations"`
	Failures     uint64         `json:"failures"`
	FailedBytes  uint64         `json:"failure_bytes"`
}

// jsonDrops converts the counts of a ring; nil stays nil.
func jsonDrops(r *drops.Ring) *dropsJSON {
	if r == nil {
		return nil
	}
	j := &dropsJSON{
		Reservations: r.Calls, Failures: r.Failed, FailuresLow: r.FailedLow, FailuresHigh: r.FailedHigh, FailedBytes: r.FailedBytes,
		Programs: []callerJSON{},
	}
	for i := range r.Callers {
		c := &r.Callers[i]
		j.Programs = append(j.Programs, callerJSON{c.Program, c.Name, c.Function, c.Calls, c.Failed, c.FailedBytes})
	}
	return j
}

func jsonReport(r *inspect.Report) reportJSON {
	maps := []mapJSON{}
	for i := range r.Maps {
		maps = append(maps, jsonMap(&r.Maps[i]))
	}
	return reportJSON{Maps: maps, Notes: r.Notes}
}

// jsonSample is jsonReport plus the time of the sample.
func jsonSample(r *inspect.Report) reportJSON {
	j := jsonReport(r)
	j.Time = &r.Time
	return j
}

func jsonMap(m *inspect.Map) mapJSON {
	j := mapJSON{
		ID: m.ID, Name: m.Name, Type: maptype.Name(m.Type), Bytes: m.Bytes, Flags: m.Flags, MapExtra: m.MapExtra, Memory: m.Memory,
		Users: convertAll(m.Users, jsonUser), UnseenWriters: m.UnseenWriters, Programs: convertAll(m.Programs, jsonProgram), Pins: m.Pins, Notes: m.Notes,
	}
	if p := m.Positions; p != nil {
		j.positionsJSON = &positionsJSON{Consumer: p.Consumer, Producer: p.Producer, Pending: p.Pending, Overwrite: p.Overwrite, Backlog: p.Backlog, Fill: p.Fill, Refused: command.JSONRefused(p.Refused)}
		if p.Busy != nil {
			j.Busy = &busyJSON{p.Busy.Pos, p.Busy.Len}
		}
	}
	if a := m.Arena; a != nil {
		j.arenaJSON = &arenaJSON{a.UserBase, a.Pages}
	}
	if m.Flow != nil {
		j.flowJSON = jsonFlow(m.Flow)
	}
	return j
}

func jsonUser(u inspect.User) userJSON {
	return userJSON{
		PID: u.PID, Comm: u.Comm, Self: u.Self, Unit: u.Home.Unit, Runtime: u.Home.Runtime, Container: u.Home.Container, Pod: u.Home.Pod,
		Holds: u.Holds, Mapped: u.Mapped, Consumes: u.Consumes, Produces: u.Produces, Exact: u.Exact, Why: u.Why,
	}
}

func jsonProgram(p inspect.Program) programJSON {
	attached := convertAll(p.Attached, func(a inspect.Attachment) attachmentJSON { return attachmentJSON(a) })
	return programJSON{ID: p.ID, Name: p.Name, Type: strings.ToLower(p.Type.String()), Via: p.Via, Attached: attached}
}

func jsonFlow(f *inspect.Flow) *flowJSON {
	return &flowJSON{
		Produced: jsonTotal(f.Produced), Consumed: jsonTotal(f.Consumed), Overwritten: jsonTotal(f.Overwritten),
		ProducedRate: f.ProducedRate, ConsumedRate: f.ConsumedRate, HighWater: f.HighWater, Saturated: f.Saturated.Seconds(),
		Lag: f.Lag.Seconds(), LagAtLeast: f.LagAtLeast, State: f.State, StuckFor: f.StuckFor.Seconds(),
	}
}

func jsonTotal(t inspect.Total) any {
	if t.Hi == 0 {
		return t.Lo
	}
	return t.Float64()
}

// convertAll converts the elements of a list. It keeps nil, which means that the list is unknown.
func convertAll[T, U any](list []T, convert func(T) U) []U {
	if list == nil {
		return nil
	}
	out := make([]U, 0, len(list))
	for _, v := range list {
		out = append(out, convert(v))
	}
	return out
}
