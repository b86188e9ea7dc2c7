package drops_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/testenv"
)

// BenchmarkReservation measures a call that reserves 40 bytes: not counted, counted, and with a Counter that
// counts another ring; and a call that fails.
func BenchmarkReservation(b *testing.B) {
	benchmark(b, "not counted", nil)
	for e, feature := range engines {
		c, err := drops.New(drops.Options{Engine: e})
		if err != nil {
			b.Run(e.String(), func(b *testing.B) { testenv.SkipWithout(b, feature, err) })
			continue
		}
		c.Close()
		benchmark(b, e.String()+"/counted", &drops.Options{Engine: e})
		benchmark(b, e.String()+"/another ring counted", &drops.Options{Engine: e, Maps: []ebpf.MapID{1 << 30}})
	}
}

// benchmark runs with a Counter, or without if o is nil.
func benchmark(b *testing.B, name string, o *drops.Options) {
	for _, full := range []bool{false, true} {
		b.Run(fmt.Sprintf("%s/full=%v", name, full), func(b *testing.B) {
			s, err := reservers.Load(reservers.Config{Steps: burst}, reservers.Reserve)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if o != nil {
				c, err := drops.New(*o)
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
			}
			r, err := consumer.NewReader(s.Ring, consumer.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			for range 3 { // fill the ring
				if err := s.Run(reservers.Reserve); err != nil {
					b.Fatal(err)
				}
			}
			var took time.Duration
			n := 0
			for b.Loop() {
				if !full {
					for range r.Pass(1 << 20) {
					}
				}
				start := time.Now()
				if err := s.Run(reservers.Reserve); err != nil {
					b.Fatal(err)
				}
				took += time.Since(start)
				n += burst
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(n), "ns/call")
			b.ReportMetric(0, "ns/op")
		})
	}
}
