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
// The program takes samples at its own interval, not at each scrape. That interval is the
// resolution of the saturated time, the high-water mark and the stuck states, and does not
// depend on how many servers scrape.
//
// # Labels
//
// The labels of a map's metrics are its id and name, which never change. rbtool_map_info also
// has the map's type and owner: the names of a ring's consumers or a user ring's producers, or
// of the map's holders if there are none. When the owner changes, that series ends and another
// begins; the counters continue. To get the owner in a query, join rbtool_map_info:
//
//	rate(rbtool_ring_consumed_bytes_total[5m]) * on (instance, id) group_left (owner) rbtool_map_info
//
// rbtool_owner_info has a series for each process that uses a map. The kernel reuses the id of a
// map only after it has created 2^31 other maps. Then the counters restart, as they do when the
// exporter restarts.
package metrics
