package metrics

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

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
# HELP rbtool_map_info A ring buffer, user ring buffer or arena of this host, and its current owners.
# TYPE rbtool_map_info gauge
rbtool_map_info{id="12",name="events",owner="agent",type="ringbuf"} 1
rbtool_map_info{id="13",name="shared",owner="",type="arena"} 1
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
# HELP rbtool_ring_saturated_seconds_total Time during which the ring was at least 15/16 full. The kernel does not count refused records.
# TYPE rbtool_ring_saturated_seconds_total counter
rbtool_ring_saturated_seconds_total` + labels + ` 1.5
# HELP rbtool_up Whether the last sample of the host's maps succeeded.
# TYPE rbtool_up gauge
rbtool_up 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want),
		"rbtool_map_info", "rbtool_owner_info", "rbtool_ring_backlog_bytes", "rbtool_ring_capacity_bytes", "rbtool_ring_consumer_stuck",
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

func TestCountersGoOnWhenTheOwnerChangesItsName(t *testing.T) {
	c := NewCollector()
	for _, comm := range []string{"agent", "agent: worker"} {
		sample := newSample()
		sample.Maps[0].Users[0].Comm = comm
		c.Update(sample, nil, time.Millisecond)
		want := `
# HELP rbtool_map_info A ring buffer, user ring buffer or arena of this host, and its current owners.
# TYPE rbtool_map_info gauge
rbtool_map_info{id="12",name="events",owner="` + comm + `",type="ringbuf"} 1
rbtool_map_info{id="13",name="shared",owner="",type="arena"} 1
# HELP rbtool_ring_saturated_seconds_total Time during which the ring was at least 15/16 full. The kernel does not count refused records.
# TYPE rbtool_ring_saturated_seconds_total counter
rbtool_ring_saturated_seconds_total{id="12",name="events"} 1.5
`
		if err := testutil.CollectAndCompare(c, strings.NewReader(want), "rbtool_map_info", "rbtool_ring_saturated_seconds_total"); err != nil {
			t.Error(err)
		}
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
	m.Name, m.Users[0].Comm, m.Users[0].Home.Unit = "a\xff\"\n", "b\xfe{}", "c\xfd\\"
	c := NewCollector()
	c.Update(sample, nil, time.Millisecond)
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, metric := range f.Metric {
			if g := metric.Gauge; g != nil && math.IsNaN(g.GetValue()) {
				t.Errorf("%s is not a number", f.GetName())
			}
		}
	}
}
