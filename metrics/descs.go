package metrics

import "github.com/prometheus/client_golang/prometheus"

// The metrics. Do not change their names: dashboards and alerts depend on them.
var (
	descs []*prometheus.Desc

	up            = desc("up", "Whether the last sample of the host's maps succeeded.")
	samplesTotal  = desc("samples_total", "Samples of all maps of the host, failed ones included.")
	failuresTotal = desc("sample_failures_total", "Samples that failed.")
	sampleSeconds = desc("sample_duration_seconds", "Duration of the last sample.")

	mapInfo   = desc("map_info", "A ring buffer, user ring buffer or arena of this host, and its current owners.", "id", "name", "owner", "type")
	mapMemory = desc("map_memory_bytes", "Memory that the kernel holds for the map; not counted for arenas before Linux 7.3.", "id", "name")
	arenaSize = desc("arena_capacity_bytes", "Bytes that can be allocated in the arena in all.", "id", "name")
	ownerInfo = desc("owner_info", "A process that consumes a map (role consumer), produces into it (producer), "+
		"has it mapped (observer) or holds a descriptor of it (holder).",
		"id", "pid", "comm", "role", "unit", "container", "pod")

	producedTotal    = ringDesc("produced_bytes_total", "Bytes produced, headers included, since the ring's creation.")
	consumedTotal    = ringDesc("consumed_bytes_total", "Bytes consumed, headers included, since the ring's creation.")
	overwrittenTotal = ringDesc("overwritten_bytes_total", "Bytes of a ring in overwrite mode that were overwritten before they were consumed; a lower bound.")
	saturatedTotal   = ringDesc("saturated_seconds_total", "Time during which the ring was at least 15/16 full. The kernel does not count refused records.")
	capacity         = ringDesc("capacity_bytes", "Size of the ring's data.")
	backlog          = ringDesc("backlog_bytes", "Bytes that the consumer has not read.")
	highWater        = ringDesc("high_water_bytes", "The largest backlog that a sample has seen.")
	lag              = ringDesc("lag_seconds", "Age of the oldest record in the ring, as far as the samples tell.")
	consumerStuck    = ringDesc("consumer_stuck", "Whether the ring has data and the consumer does not move.")
	producerStuck    = ringDesc("producer_stuck", "Whether the oldest record stays reserved.")
	unconsumed       = ringDesc("unconsumed", "Whether the ring has data and no process consumes it.")
	contradictory    = ringDesc("contradictory", "Whether the positions cannot be right: another process writes wrong ones.")
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
