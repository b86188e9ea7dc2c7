package stream

import (
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// BenchmarkRings decodes the same number of records of 104 bytes to JSON from one ring and from 64. cpu-ns/record is the
// CPU time of reading, also on a busy machine.
func BenchmarkRings(b *testing.B) {
	const total, size = 32 << 10, 104
	set, host := eventType(b)
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			formats := NewFormats(JSON, FormatOptions{Print: host}, n > 1)
			out := &Writer{W: io.Discard, Format: formats.Append}
			src, err := ConsumeRings(consumer.Options{BeforePublish: out.Flush})
			if err != nil {
				b.Fatal(err)
			}
			defer src.Close()
			var producers []*producer.Producer
			for i := range n {
				m := testenv.Ring(b, uint32(total/n*128))
				p, err := producer.Load(m)
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				producers = append(producers, p)
				if _, err := src.Add(m, false); err != nil {
					b.Fatal(err)
				}
				formats.Set(i, Shown{Name: fmt.Sprintf("events[%d]", i), ID: 1, Types: set})
			}
			var cpu int64
			for b.Loop() {
				b.StopTimer()
				for _, p := range producers {
					if _, err := p.Run(b.Context(), producer.Job{Op: producer.Output, Size: size, Count: uint64(total / n)}); err != nil {
						b.Fatal(err)
					}
				}
				s := Stream{Source: src, Sink: out, Limits: Limits{Records: total}, Batch: 256}
				before := cpuTime()
				b.StartTimer()
				if err := s.Run(b.Context()); err != nil {
					b.Fatal(err)
				}
				cpu += cpuTime() - before
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*total), "ns/record")
			b.ReportMetric(float64(cpu)/float64(b.N*total), "cpu-ns/record")
		})
	}
}

// cpuTime returns the CPU time of this process in nanoseconds.
func cpuTime() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
