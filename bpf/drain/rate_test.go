package drain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// BenchmarkRun measures the time of runs, without the time for feeding and consuming.
func BenchmarkRun(b *testing.B) {
	for _, size := range []int{16, 64, 1024, 16 << 10} {
		b.Run(fmt.Sprintf("%d_bytes", size), func(b *testing.B) {
			user, ring := userRing(b, 1<<20), testenv.Ring(b, 4<<20)
			f, d := newFeeder(b, user), newDrain(b, user, Options{To: ring})
			r, err := consumer.NewReader(ring, consumer.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			sample := make([]byte, size)
			var took []float64 // for each run, its ns per sample
			for b.Loop() {
				var fed uint64
				for f.put(sample, 0) {
					fed++
				}
				f.publish(f.pos)
				start := time.Now()
				res, err := d.Run(RunOptions{})
				took = append(took, float64(time.Since(start))/float64(fed))
				if err != nil || res.Delivered != fed {
					b.Fatalf("%+v, %v; want %d delivered", res, err, fed)
				}
				for range r.Pass(0) {
				}
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2], "p50-ns/sample")
			b.ReportMetric(0, "ns/op")
		})
	}
}
