// Package metrics exports the rings of a host to Prometheus. The command rbtool exporter
// serves it; a Go program can register it next to its own metrics:
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
// The program takes samples at an interval of its own, not at each scrape. That interval is
// the resolution of the saturated time, the high-water mark and the stuck states, however
// many servers scrape.
//
// # Labels
//
// The labels of a map's metrics are its id and name, which never change. rbtool_map_info adds
// its type, and as owner the names of its consumers (of a user ring its producers; without
// either, its holders). When the owner changes, that series ends and another begins; the
// counters continue. Join it to get the owner:
//
//	rate(rbtool_ring_consumed_bytes_total[5m]) * on (instance, id) group_left (owner) rbtool_map_info
//
// rbtool_owner_info has a series for each process. The kernel reuses an id only after 2^31 other
// maps. Then the counters restart, as after a restart of the exporter.
package metrics
