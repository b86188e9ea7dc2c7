package metrics

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/maptype"
)

// Collector is a [prometheus.Collector] that exports the last sample. Any number of goroutines
// can call its methods at once. It holds no descriptors and needs no Close.
type Collector struct {
	mu      sync.Mutex
	sample  *inspect.Report // nil after a failure
	took    time.Duration
	samples uint64
	failed  uint64
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a Collector. Before the first Update rbtool_up is 0, and it
// exports no metrics of maps.
func NewCollector() *Collector { return &Collector{} }

// Update sets the sample that scrapes get from now on, and the time that it took to take it. The
// caller must not change the sample afterwards. If err is not nil, rbtool_up is 0 and the
// Collector exports no metrics of maps, so that old values are not mistaken for current values.
func (c *Collector) Update(sample *inspect.Report, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sample, c.took = sample, took
	c.samples++
	if err != nil {
		c.failed++
		c.sample = nil
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	sample, took, samples, failed := c.sample, c.took, c.samples, c.failed
	c.mu.Unlock()
	e := emitter{ch}
	e.gauge(up, truth(sample != nil))
	e.counter(samplesTotal, float64(samples))
	e.counter(failuresTotal, float64(failed))
	e.gauge(sampleSeconds, took.Seconds())
	if sample == nil {
		return
	}
	for i := range sample.Maps {
		e.describe(&sample.Maps[i])
	}
}

// emitter sends metrics.
type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) counter(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// describe emits the metrics of a map.
func (e emitter) describe(m *inspect.Map) {
	id := strconv.FormatUint(uint64(m.ID), 10)
	labels := []string{id, clean(m.Name)} // rate() needs one series for each map, so its labels must not change
	e.gauge(mapInfo, 1, append(slices.Clip(labels), clean(m.OwnerNames()), maptype.Name(m.Type))...)
	e.gauge(mapMemory, float64(m.Memory), labels...)
	for _, u := range m.Users {
		if !u.Self {
			e.gauge(ownerInfo, 1, id, strconv.Itoa(u.PID), clean(u.Comm), role(u), clean(u.Home.Unit), u.Home.Container, u.Home.Pod)
		}
	}
	if m.Arena != nil {
		e.gauge(arenaSize, float64(m.Bytes), labels...)
	}
	if m.Flow == nil {
		return
	}
	f := m.Flow
	e.counter(producedTotal, f.Produced.Float64(), labels...)
	e.counter(consumedTotal, f.Consumed.Float64(), labels...)
	if m.Positions.Overwrite != nil {
		e.counter(overwrittenTotal, f.Overwritten.Float64(), labels...)
	}
	e.counter(saturatedTotal, f.Saturated.Seconds(), labels...)
	e.gauge(capacity, float64(m.Bytes), labels...)
	e.gauge(backlog, float64(m.Positions.Backlog), labels...)
	e.gauge(highWater, float64(f.HighWater), labels...)
	e.gauge(lag, f.Lag.Seconds(), labels...)
	e.gauge(consumerStuck, truth(f.State == inspect.ConsumerStuck), labels...)
	e.gauge(producerStuck, truth(f.State == inspect.ProducerStuck), labels...)
	e.gauge(unconsumed, truth(f.State == inspect.Unconsumed), labels...)
	e.gauge(contradictory, truth(f.State == inspect.Contradictory), labels...)
	e.gauge(stuckSeconds, f.StuckFor.Seconds(), labels...)
}

// clean returns name as a valid label value. name can have any bytes; labels must be UTF-8.
func clean(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

func role(u inspect.User) string {
	switch {
	case u.Consumes:
		return "consumer"
	case u.Produces:
		return "producer"
	case u.Mapped:
		return "observer"
	}
	return "holder"
}
