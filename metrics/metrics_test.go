package metrics

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

func newSample() *inspect.Report {
	overwrite := uint64(64)
	return &inspect.Report{Maps: []inspect.Map{
		{
			ID: 12, Name: "events", Type: ebpf.RingBuf, Bytes: 4096, Memory: 16384,
			Positions: &inspect.Positions{Consumer: 64, Producer: 1088, Overwrite: &overwrite, Backlog: 1024, Fill: 0.25},
			Users: []inspect.User{
				{PID: 7, Comm: "agent", Consumes: true, Mapped: true, Holds: true, Home: inspect.Home{Unit: "agent.service"}},
				{PID: 8, Comm: "bystander", Holds: true},
			},
			Flow: &inspect.Flow{HighWater: 4096, Saturated: 1500 * time.Millisecond, Lag: 2 * time.Second,
				State: inspect.ConsumerStuck, StuckFor: time.Second},
		},
		{ID: 13, Name: "shared", Type: ebpf.Arena, Bytes: 1 << 32, Arena: &inspect.Arena{}},
	}}
}

func TestARingsMetrics(t *testing.T) {
	c := NewCollector()
	c.Update(newSample(), nil, 250*time.Millisecond)
	const labels = `{id="12",name="events"}`
	want := `
# HELP rbtool_map_info A ring buffer, user ring buffer or arena of this host.
# TYPE rbtool_map_info gauge
rbtool_map_info{id="12",name="events",type="ringbuf"} 1
rbtool_map_info{id="13",name="shared",type="arena"} 1
# HELP rbtool_map_owner_info The current owners of a map, by name; the label is empty if there are none.
# TYPE rbtool_map_owner_info gauge
rbtool_map_owner_info{id="12",name="events",owner="agent"} 1
rbtool_map_owner_info{id="13",name="shared",owner=""} 1
# HELP rbtool_owner_info A process that consumes a map (role consumer), produces into it (producer), has it mapped (observer) or holds a descriptor of it (holder).
# TYPE rbtool_owner_info gauge
rbtool_owner_info{comm="agent",container="",id="12",pid="7",pod="",role="consumer",unit="agent.service"} 1
rbtool_owner_info{comm="bystander",container="",id="12",pid="8",pod="",role="holder",unit=""} 1
# HELP rbtool_ring_backlog_bytes Bytes that the consumer has not read.
# TYPE rbtool_ring_backlog_bytes gauge
rbtool_ring_backlog_bytes` + labels + ` 1024
# HELP rbtool_ring_capacity_bytes Size of the ring's data.
# TYPE rbtool_ring_capacity_bytes gauge
rbtool_ring_capacity_bytes` + labels + ` 4096
# HELP rbtool_ring_consumer_stuck Whether the ring has data and the consumer does not move.
# TYPE rbtool_ring_consumer_stuck gauge
rbtool_ring_consumer_stuck` + labels + ` 1
# HELP rbtool_ring_high_water_bytes The largest backlog that a sample has seen.
# TYPE rbtool_ring_high_water_bytes gauge
rbtool_ring_high_water_bytes` + labels + ` 4096
# HELP rbtool_ring_overwritten_bytes_total Bytes of a ring in overwrite mode that were overwritten before they were consumed; a lower bound.
# TYPE rbtool_ring_overwritten_bytes_total counter
rbtool_ring_overwritten_bytes_total` + labels + ` 0
# HELP rbtool_ring_producer_stuck Whether the oldest record stays reserved.
# TYPE rbtool_ring_producer_stuck gauge
rbtool_ring_producer_stuck` + labels + ` 0
# HELP rbtool_ring_saturated_seconds_total Time during which the ring was at least 15/16 full. The kernel does not count refused records; exporter --drops does.
# TYPE rbtool_ring_saturated_seconds_total counter
rbtool_ring_saturated_seconds_total` + labels + ` 1.5
# HELP rbtool_up Whether the last sample of the host's maps succeeded.
# TYPE rbtool_up gauge
rbtool_up 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want),
		"rbtool_map_info", "rbtool_map_owner_info", "rbtool_owner_info", "rbtool_ring_backlog_bytes", "rbtool_ring_capacity_bytes", "rbtool_ring_consumer_stuck",
		"rbtool_ring_high_water_bytes", "rbtool_ring_overwritten_bytes_total", "rbtool_ring_producer_stuck",
		"rbtool_ring_saturated_seconds_total", "rbtool_up"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Only a user ring whose producers count has counts of refused samples.
func TestRefusedSamples(t *testing.T) {
	sample := newSample()
	commands := inspect.Map{ID: 14, Name: "commands", Type: ebpf.UserRingbuf, Bytes: 4096, Flow: &inspect.Flow{}}
	commands.Positions = &inspect.Positions{Refused: &inspect.Refused{Samples: 3, Bytes: 300, Full: 250 * time.Millisecond}}
	other := inspect.Map{ID: 15, Name: "other", Type: ebpf.UserRingbuf, Bytes: 4096, Flow: &inspect.Flow{}, Positions: &inspect.Positions{}}
	sample.Maps = append(sample.Maps, commands, other)
	c := NewCollector()
	c.Update(sample, nil, time.Millisecond)
	series := gather(t, c)
	for name, want := range map[string]float64{"refused_samples_total": 3, "refused_bytes_total": 300, "no_room_seconds_total": 0.25} {
		found := 0
		for s := range series {
			if strings.HasPrefix(s, "rbtool_ring_"+name) {
				found++
			}
		}
		if m := series["rbtool_ring_"+name+`,id="14",name="commands"`]; m == nil || m.Counter.GetValue() != want || found != 1 {
			t.Errorf("%s: %v, %d series", name, m, found)
		}
	}
}

// gather returns the series of c: name and labels.
func gather(t *testing.T, c *Collector) map[string]*dto.Metric {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]*dto.Metric{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += fmt.Sprintf(",%s=%q", l.GetName(), l.GetValue())
			}
			series[name] = m
		}
	}
	return series
}

// Owners and pins that come, go or change their names begin and end only series that describe owners.
func TestSeriesDoNotDependOnOwners(t *testing.T) {
	c := NewCollector()
	c.Update(newSample(), nil, time.Millisecond)
	before := gather(t, c)
	for _, change := range []func(*inspect.Map){
		func(m *inspect.Map) { m.Users[0].Comm = "agent: worker" },
		func(m *inspect.Map) { m.Users = nil; m.UnseenWriters = 1 },
		func(m *inspect.Map) { m.Users = []inspect.User{{PID: 9, Comm: "other", Holds: true}} },
		func(m *inspect.Map) { m.Pins = []string{"/sys/fs/bpf/events"} },
		func(m *inspect.Map) { m.Flow.State, m.Flow.StuckFor = inspect.Idle, 0 },
		func(m *inspect.Map) { m.Flow.State = inspect.Contradictory },
		func(m *inspect.Map) { m.Notes = []string{"unknown"} },
	} {
		sample := newSample()
		change(&sample.Maps[0])
		c.Update(sample, nil, time.Millisecond)
		after := gather(t, c)
		for _, pair := range [][2]map[string]*dto.Metric{{before, after}, {after, before}} {
			for name := range pair[0] {
				if pair[1][name] == nil && !strings.Contains(name, "owner_info") {
					t.Errorf("%s is not in both scrapes", name)
				}
			}
		}
	}
}

func TestHistogramsOfSamples(t *testing.T) {
	c := NewCollector()
	const fill, lag = `rbtool_ring_sampled_fill_ratio,id="12",name="events"`, `rbtool_ring_sampled_lag_seconds,id="12",name="events"`
	for i := range 8 {
		sample := newSample()
		sample.Maps[0].Positions.Fill = float64(i) / 8
		c.Update(sample, nil, 3*time.Millisecond)
	}
	c.Update(nil, errors.New("not now"), time.Second)
	if gather(t, c)[fill] != nil {
		t.Error("a ring is shown after a failure")
	}
	c.Update(newSample(), nil, 3*time.Millisecond)
	series := gather(t, c)
	h := series[fill].GetHistogram()
	if h.GetSampleCount() != 9 || h.GetSampleSum() != 28.0/8+0.25 || h.GetZeroCount() != 1 || len(h.PositiveSpan) == 0 || len(h.Bucket) != 0 {
		t.Errorf("fill: %v", h)
	}
	if h := series[lag].GetHistogram(); h.GetSampleCount() != 9 || h.GetSampleSum() != 18 {
		t.Errorf("lag: %v", h)
	}
	h = series["rbtool_sample_duration_seconds"].GetHistogram()
	if h.GetSampleCount() != 10 || len(h.Bucket) == 0 {
		t.Errorf("durations: %v", h)
	}
	// The histograms of a ring go with it.
	sample := newSample()
	sample.Maps = sample.Maps[1:]
	c.Update(sample, nil, time.Millisecond)
	if series = gather(t, c); series[fill] != nil || series[lag] != nil || len(c.rings) != 0 {
		t.Errorf("left: %v, %v, %v", series[fill], series[lag], c.rings)
	}
	c.Update(newSample(), nil, time.Millisecond)
	if h := gather(t, c)[fill].GetHistogram(); h.GetSampleCount() != 1 {
		t.Errorf("a new ring of the same id: %v", h)
	}
}

func TestAFailureShowsNoRings(t *testing.T) {
	c := NewCollector()
	c.Update(newSample(), nil, time.Millisecond)
	c.Update(nil, errors.New("not now"), time.Millisecond)
	const want = `
# HELP rbtool_sample_failures_total Samples that failed.
# TYPE rbtool_sample_failures_total counter
rbtool_sample_failures_total 1
# HELP rbtool_samples_total Samples of all maps of the host, failed ones included.
# TYPE rbtool_samples_total counter
rbtool_samples_total 2
# HELP rbtool_up Whether the last sample of the host's maps succeeded.
# TYPE rbtool_up gauge
rbtool_up 0
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "rbtool_up", "rbtool_samples_total", "rbtool_sample_failures_total",
		"rbtool_map_info", "rbtool_ring_backlog_bytes"); err != nil {
		t.Error(err)
	}
}

// The names of maps and processes can have any bytes; the metrics stay valid.
func TestHostileNames(t *testing.T) {
	sample := newSample()
	m := &sample.Maps[0]
	m.Name, m.Users[0].Comm = "a\xff\"\n", "b\xfe{}"
	m.Users[0].Home = inspect.Home{Unit: "c\xfd\\", Container: "d\xfc"}
	c := NewCollector()
	c.Update(sample, nil, time.Millisecond)
	for name, metric := range gather(t, c) {
		if g := metric.Gauge; g != nil && math.IsNaN(g.GetValue()) || !utf8.ValidString(name) {
			t.Errorf("%q is %v", name, g)
		}
	}
}
