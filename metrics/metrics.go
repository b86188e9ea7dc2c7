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

// Collector is a [prometheus.Collector] that exports the last sample, and histograms of all of them. Any number of
// goroutines can call its methods at once. It holds no descriptors and needs no Close.
type Collector struct {
	mu      sync.Mutex
	sample  *inspect.Report // nil after a failure
	samples uint64
	failed  uint64

	durations   prometheus.Histogram
	fills, lags *prometheus.HistogramVec
	rings       map[[2]string]bool // the labels of the rings that have histograms

	losses losses
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a Collector. Before the first Update rbtool_up is 0, and it
// exports no metrics of maps.
func NewCollector() *Collector {
	return &Collector{
		durations: newDurations(),
		fills:     newRingHistogram("sampled_fill_ratio", "How full the ring was in each sample, 0 to 1.", 1e-3),
		lags:      newRingHistogram("sampled_lag_seconds", "Age of the oldest record in the ring in each sample.", 1e-3),
		rings:     map[[2]string]bool{},
	}
}

// Update sets the sample that scrapes get from now on, and the time that it took to take it. The
// caller must not change the sample afterwards. If err is not nil, rbtool_up is 0 and the
// Collector exports no metrics of maps, so that old values are not mistaken for current values.
func (c *Collector) Update(sample *inspect.Report, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.samples++
	c.durations.Observe(took.Seconds())
	if err != nil {
		c.failed++
		c.sample = nil
		return
	}
	c.sample = sample
	c.observe(sample.Maps)
}

// observe adds a sample to the histograms, and removes those of rings that are gone.
func (c *Collector) observe(maps []inspect.Map) {
	for ring := range c.rings {
		c.rings[ring] = false
	}
	for i := range maps {
		m := &maps[i]
		if m.Flow == nil {
			continue
		}
		labels := labelsOf(m)
		c.rings[labels] = true
		c.fills.WithLabelValues(labels[:]...).Observe(m.Positions.Fill)
		c.lags.WithLabelValues(labels[:]...).Observe(m.Flow.Lag.Seconds())
	}
	for ring, there := range c.rings {
		if !there {
			delete(c.rings, ring)
			c.fills.DeleteLabelValues(ring[:]...)
			c.lags.DeleteLabelValues(ring[:]...)
		}
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	c.durations.Describe(ch)
	c.fills.Describe(ch)
	c.lags.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := emitter{ch}
	e.gauge(up, truth(c.sample != nil))
	e.counter(samplesTotal, float64(c.samples))
	e.counter(failuresTotal, float64(c.failed))
	c.durations.Collect(ch)
	if c.sample == nil {
		return
	}
	for i := range c.sample.Maps {
		e.describe(&c.sample.Maps[i])
	}
	c.emitLosses(e)
	c.fills.Collect(ch)
	c.lags.Collect(ch)
}

// labelsOf returns the id and the name of a map: the labels of its metrics. They never change, since rate() needs one
// series for each map.
func labelsOf(m *inspect.Map) [2]string {
	return [2]string{strconv.FormatUint(uint64(m.ID), 10), clean(m.Name)}
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
	both := labelsOf(m)
	labels := both[:]
	e.gauge(mapInfo, 1, append(slices.Clip(labels), maptype.Name(m.Type))...)
	e.gauge(mapOwner, 1, append(slices.Clip(labels), clean(m.OwnerNames()))...)
	e.gauge(mapMemory, float64(m.Memory), labels...)
	for _, u := range m.Users {
		if !u.Self {
			e.gauge(ownerInfo, 1, labels[0], strconv.Itoa(u.PID), clean(u.Comm), role(u), clean(u.Home.Unit), clean(u.Home.Container), u.Home.Pod)
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
	if r := m.Positions.Refused; r != nil {
		e.counter(refusedSamples, float64(r.Samples), labels...)
		e.counter(refusedBytes, float64(r.Bytes), labels...)
		e.counter(noRoom, r.Full.Seconds(), labels...)
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
