// Package metrics shows the rings of a host to Prometheus. The command rbtool
// exporter serves it; a Go program can register it beside its own metrics:
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
// Samples are taken on a beat of their own, not by the scrape: the time at
// saturation, the high-water mark and what is stuck are then as fine as the
// beat, and the same however many servers scrape.
//
// # Labels
//
// The labels of a map's metrics never change: its id and its name. rbtool_map_info adds its
// type, and as owner the names of the processes that consume it (or produce into it if it is
// a user ring; or hold it if there are none). When the owner changes, that series ends and
// another begins; the counters go on. Join it to get the owner:
//
//	rate(rbtool_ring_consumed_bytes_total[5m]) * on (instance, id) group_left (owner) rbtool_map_info
//
// rbtool_owner_info has a series for each process. The kernel reuses an id only after 2^31 other
// maps; then the counters restart, as after a restart of the exporter.
package metrics
