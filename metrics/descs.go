package metrics

import "github.com/prometheus/client_golang/prometheus"

// The metrics. Do not change their names: dashboards and alerts depend on them.
var (
	descs []*prometheus.Desc

	up            = desc("up", "Whether the last sample of the host's maps succeeded.")
	samplesTotal  = desc("samples_total", "Samples of all maps of the host, failed ones included.")
	failuresTotal = desc("sample_failures_total", "Samples that failed.")

	mapInfo   = desc("map_info", "A ring buffer, user ring buffer or arena of this host.", "id", "name", "type")
	mapOwner  = desc("map_owner_info", "The current owners of a map, by name; the label is empty if there are none.", "id", "name", "owner")
	mapMemory = desc("map_memory_bytes", "Memory that the kernel holds for the map; not counted for arenas before Linux 7.3.", "id", "name")
	arenaSize = desc("arena_capacity_bytes", "Bytes that can be allocated in the arena in all.", "id", "name")
	ownerInfo = desc("owner_info", "A process that consumes a map (role consumer), produces into it (producer), "+
		"has it mapped (observer) or holds a descriptor of it (holder).",
		"id", "pid", "comm", "role", "unit", "container", "pod")

	producedTotal    = ringDesc("produced_bytes_total", "Bytes produced, headers included, since the ring's creation.")
	consumedTotal    = ringDesc("consumed_bytes_total", "Bytes consumed, headers included, since the ring's creation.")
	overwrittenTotal = ringDesc("overwritten_bytes_total", "Bytes of a ring in overwrite mode that were overwritten before they were consumed; a lower bound.")
	saturatedTotal   = ringDesc("saturated_seconds_total", "Time during which the ring was at least 15/16 full. The kernel does not count refused records; exporter --drops does.")
	capacity         = ringDesc("capacity_bytes", "Size of the ring's data.")
	backlog          = ringDesc("backlog_bytes", "Bytes that the consumer has not read.")
	highWater        = ringDesc("high_water_bytes", "The largest backlog that a sample has seen.")
	lag              = ringDesc("lag_seconds", "Age of the oldest record in the ring, as far as the samples tell.")
	consumerStuck    = ringDesc("consumer_stuck", "Whether the ring has data and the consumer does not move.")
	producerStuck    = ringDesc("producer_stuck", "Whether the oldest record stays reserved.")
	unconsumed       = ringDesc("unconsumed", "Whether the ring has data and no process consumes it.")
	contradictory    = ringDesc("contradictory", "Whether the positions cannot be right: another process writes wrong ones.")
	refusedSamples   = ringDesc("refused_samples_total", "Samples that the producers of a user ring did not write because it was full, since the ring's creation. Only producers of package userprod count them.")
	refusedBytes     = ringDesc("refused_bytes_total", "Bytes of the samples that the producers of a user ring did not write because it was full, without headers.")
	noRoom           = ringDesc("no_room_seconds_total", "Time for which the producers of a user ring found no room; a lower bound.")
	stuckSeconds     = ringDesc("stuck_seconds", "Time for which one of consumer_stuck, producer_stuck and unconsumed has been true.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("rbtool_"+name, help, labels, nil)
	descs = append(descs, d)
	return d
}

// ringDesc describes a metric of each ring.
func ringDesc(name, help string) *prometheus.Desc {
	return desc("ring_"+name, help, "id", "name")
}

// Bounds of native histograms: a bucket is at most half again as wide as the one before, and more of them than
// maxBuckets are merged.
const (
	bucketFactor = 1.5
	maxBuckets   = 64
)

// newDurations returns the histogram of the durations of samples. Every server stores classic buckets.
func newDurations() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "rbtool_sample_duration_seconds", Help: "Durations of the samples.",
		Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1},
	})
}

// newRingHistogram returns native histograms, one for each ring, of values above zero that the samples see. As classic ones
// they would have ten series for each ring.
func newRingHistogram(name, help string, zero float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rbtool_ring_" + name, Help: help,
		NativeHistogramBucketFactor: bucketFactor, NativeHistogramMaxBucketNumber: maxBuckets, NativeHistogramZeroThreshold: zero,
	}, []string{"id", "name"})
}
