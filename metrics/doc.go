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
// The metrics of a map carry what does not change: its id and its name. rbtool_map_info adds
// its type, and as owner the names of the processes that consume it (that produce into it
// if it is a user ring; that hold it if there are none). When the owner changes, that
// series ends and another begins; the counters go on. Join it where the owner is wanted:
//
//	rate(rbtool_ring_consumed_bytes_total[5m]) * on (instance, id) group_left (owner) rbtool_map_info
//
// rbtool_owner_info has a series for each process. An id is not given to another map before
// 2^31 others were made; should that happen, the counters start anew, as after a restart.
package metrics
