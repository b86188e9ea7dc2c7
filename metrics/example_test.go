package metrics_test

import (
	"fmt"
	"log"
	"time"

	"github.com/cilium/ebpf"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/metrics"
)

// Export the metrics of a report. Reports usually come from an [inspect.Sampler].
func Example() {
	report := &inspect.Report{Maps: []inspect.Map{{
		ID: 12, Name: "events", Type: ebpf.RingBuf, Bytes: 4096,
		Positions: &inspect.Positions{Producer: 1024, Backlog: 1024, Fill: 0.25},
		Flow:      &inspect.Flow{State: inspect.Flowing, Produced: inspect.Total{Lo: 1024}},
	}}}
	c := metrics.NewCollector()
	c.Update(report, nil, time.Millisecond)

	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "rbtool_up", "rbtool_ring_backlog_bytes":
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		case "rbtool_ring_produced_bytes_total":
			fmt.Println(f.GetName(), f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	// Output:
	// rbtool_ring_backlog_bytes 1024
	// rbtool_ring_produced_bytes_total 1024
	// rbtool_up 1
}
