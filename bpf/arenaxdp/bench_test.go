package arenaxdp

import "testing"

// BenchmarkMiss measures a request for an absent key: all of the program's work except the answer. It
// leaves the packet unchanged for the next run.
func BenchmarkMiss(b *testing.B) {
	h, kv := newKV(b)
	put(b, kv, "k", "value")
	r := newRunner(b, h)
	for name, packet := range map[string][]byte{"ipv4": get(server4, "absent").bytes(), "ipv6": get(server6, "absent").bytes()} {
		b.Run(name, func(b *testing.B) {
			verdict, each, err := r.c.Programs[bpfProgKvGet].Benchmark(packet, b.N, b.ResetTimer)
			if err != nil || verdict != xdpPass {
				b.Fatalf("verdict %d: %v", verdict, err)
			}
			b.ReportMetric(float64(each.Nanoseconds()), "kernel-ns/op")
		})
	}
}
