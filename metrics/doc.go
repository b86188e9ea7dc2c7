// Package metrics exports the rings and arenas of a host to Prometheus. The command rbtool
// exporter serves it; a Go program can register it next to its own metrics:
//
//	s := inspect.NewSampler(inspect.SamplerOptions{})
//	defer s.Close()
//	c := metrics.NewCollector()
//	prometheus.MustRegister(c)
//	for range time.Tick(time.Second) {
//		began := time.Now()
//		sample, err := s.Sample()
//		c.Update(sample, err, time.Since(began))
//	}
//
// The program takes samples at its own interval, not at each scrape. That interval is the
// resolution of the saturated time, the high-water mark and the stuck states, and does not
// depend on how many servers scrape.
//
// # Metrics
//
// Of the samples: rbtool_up (0 if the last one failed), rbtool_samples_total,
// rbtool_sample_failures_total, the histogram rbtool_sample_duration_seconds. Of each map: rbtool_map_info,
// rbtool_map_owner_info, rbtool_map_memory_bytes, rbtool_owner_info, and for an arena rbtool_arena_capacity_bytes. Of
// each ring whose positions are known, all with the prefix rbtool_ring_:
//
//	produced_bytes_total, consumed_bytes_total  since the ring's creation, headers included
//	overwritten_bytes_total                     overwrite mode only; a lower bound
//	refused_samples_total, refused_bytes_total  user rings whose producers count: samples that did not
//	                                            fit, since the ring's creation; see inspect.Refused
//	no_room_seconds_total                       and the time for which there was no room; a lower bound
//	saturated_seconds_total                     time for which the ring was at least 15/16 full
//	capacity_bytes, backlog_bytes               size of the ring, and bytes not yet consumed
//	high_water_bytes                            largest backlog that a sample has seen
//	lag_seconds                                 age of the oldest record
//	consumer_stuck, producer_stuck,             1 if the ring is in this state, else 0:
//	unconsumed, contradictory                   see inspect.State
//	stuck_seconds                               time since the last progress of a stuck ring
//	sampled_fill_ratio, sampled_lag_seconds     native histograms over all samples: what the gauges
//	                                            show of the last sample only
//
// If [Collector.UpdateLosses] is called, of each ring that programs reserve records in (see package drops):
//
//	reservations_total                          that programs tried
//	failed_reservations_total                   those that failed, by the additional label program
//	failed_reservation_bytes_total              and the space that they asked for, also by program
//	failed_reservations_uncertain               how far the bounds of their number are apart
//
// of each user ring that programs drain, where the kernel lets that be counted:
//
//	drains_total                                calls of bpf_user_ringbuf_drain
//	failed_drains_total                         those that failed, by the additional label error
//
// and of the counting: rbtool_drops_engine_info (label engine), rbtool_drops_calls_total, rbtool_drops_missed_calls_total,
// rbtool_drops_call_cost_seconds, and rbtool_drops_cost_seconds_total, an estimate.
//
// [inspect.Flow] describes these values.
//
// # Labels
//
// The labels of a map's metrics are its id and name, which never change; rbtool_map_info also has its type.
// The label program is the name of a program; programs of one name share a series, so that it goes on when a
// program is loaded again.
// Series that change with the owners are apart: rbtool_map_owner_info has the label owner, the names of a
// ring's consumers or a user ring's producers, or of the map's holders if there are none. When they change, that
// series ends and another begins; there is always one for each map. To get the owner in a query, join it:
//
//	rate(rbtool_ring_consumed_bytes_total[5m]) * on (instance, id) group_left (owner) rbtool_map_owner_info
//
// rbtool_owner_info has a series for each process that uses a map, other than the exporter, with
// the labels id, pid, comm, role (consumer, producer, observer or holder), unit, container and
// pod. The kernel reuses the id of a map only after it has created 2^31 other maps; then the
// counters restart. When the exporter restarts, the histograms and the counters of overwritten bytes and saturated
// seconds restart; the counters of produced and consumed bytes continue.
//
// # Native histograms
//
// The histograms of rings have native buckets only, one series for each ring. Prometheus stores them if it is
// started with --enable-feature=native-histograms, or from version 3.8 if scrape_native_histograms is set. Otherwise,
// and in the text format, there are count and sum: their quotient is the mean.
package metrics
