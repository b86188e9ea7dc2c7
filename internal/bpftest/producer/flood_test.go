package producer

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkFlood measures the producer: a consumer on another CPU only advances consumer_pos from
// time to time, and reads no records.
func BenchmarkFlood(b *testing.B) {
	for _, fast := range []bool{true, false} {
		for _, op := range []Op{Reserve, Output, Dynptr} {
			for _, size := range []uint32{16, 64, 256, 1024} {
				b.Run(fmt.Sprintf("fast=%v/%v/%d", fast, op, size), func(b *testing.B) {
					flood(b, Job{Op: op, Fast: fast, Size: size, Wakeup: NoWakeup})
				})
			}
			if op != Reserve {
				b.Run(fmt.Sprintf("fast=%v/%v/16..128", fast, op), func(b *testing.B) {
					flood(b, Job{Op: op, Fast: fast, Size: 16, MaxSize: 128, Wakeup: NoWakeup})
				})
			}
		}
	}
	b.Run("fast=true/reserve/64/adaptive", func(b *testing.B) { flood(b, Job{Fast: true, Size: 64}) })
	b.Run("fast=true/reserve/64/wake at 256 KiB", func(b *testing.B) {
		flood(b, Job{Fast: true, Size: 64, WakeBytes: 256 << 10})
	})
}

func flood(b *testing.B, job Job) {
	p, ring := load(b, 16<<20)
	run(b, p, job) // produces no records, but loads the program
	trash := mapPositions(b, ring)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			trash.consume()
			for pause := time.Now(); time.Since(pause) < 20*time.Microsecond; {
			}
		}
	}()
	job.Count, job.RetryFull = uint64(b.N), true
	b.ResetTimer()
	res, err := p.RunOn(b.Context(), 0, job)
	b.StopTimer()
	stop.Store(true)
	<-done
	if err != nil || res.Submitted != job.Count {
		b.Fatalf("%+v, %v", res, err)
	}
	b.ReportMetric(float64(res.Submitted)/b.Elapsed().Seconds()/1e6, "Mrec/s")
	b.ReportMetric(float64(res.Retried), "full")
}
