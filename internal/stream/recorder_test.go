package stream

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// newRecorder returns a Recorder that has begun a capture of a ring.
func newRecorder(tb testing.TB, w io.Writer, src Source) *Recorder {
	tb.Helper()
	rec := &Recorder{Writer: &Writer{W: w}}
	err := rec.Begin(capture.Section{})
	if err == nil {
		_, err = rec.Add(src.Totals, capture.Info{Type: ebpf.RingBuf})
	}
	if err != nil {
		tb.Fatal(err)
	}
	return rec
}

// If an observer loses records, the capture marks the loss at the first record after it.
func TestLossesAreMarkedWhereTheyAre(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	owner, err := consumer.NewReader(m, consumer.Options{Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	src, err := Observe(m, consumer.ObserverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var file bytes.Buffer
	s := &Stream{Source: src, Sink: newRecorder(t, &file, src)}
	// In the second round, the owner consumes a whole ring of records before the observer reads any.
	var want []uint64
	seq := uint64(0)
	for _, rounds := range []int{1, 3, 1} {
		for range rounds {
			job := producer.Job{Op: producer.Reserve, Size: 8, Seq: seq, Count: 128, DiscardEvery: 5}
			if _, err := p.Run(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			seq += job.Count
			for range owner.Pass(0) {
			}
		}
		if err := s.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		want = append(want, src.Totals().Lost)
	}
	lost := lostIn(t, &file)
	if want[0] != 0 || want[1] == 0 || want[2] != want[1] || lost != want[2] {
		t.Errorf("the observer lost %d bytes after each round; the capture says %d", want, lost)
	}
}

// lostIn returns how many bytes a capture of 8-byte records has marked as lost.
func lostIn(t *testing.T, file io.Reader) (lost uint64) {
	t.Helper()
	r, err := capture.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for end := uint64(0); ; {
		rec, err := r.Next()
		if errors.Is(err, capture.ErrUnfinished) {
			return lost
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Lost > rec.Pos-end {
			t.Errorf("%d bytes lost before position %d, after %d", rec.Lost, rec.Pos, end)
		}
		lost += rec.Lost
		end = rec.Pos + 16
	}
}

// benchmark observes 100,000 records of 16 bytes in each iteration. into returns the sink for a source.
func benchmark(b *testing.B, into func(src Source) Sink) {
	const records = 100_000
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 1 << 22})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p, err := producer.Load(m)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(b.Context(), producer.Job{Op: producer.Output, Count: records, Size: 16}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		src, err := Observe(m, consumer.ObserverOptions{})
		if err != nil {
			b.Fatal(err)
		}
		s := &Stream{Source: src, Sink: into(src), Limits: Limits{Records: records}, Batch: 256}
		if err := errors.Join(s.Run(b.Context()), src.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}

// BenchmarkRecord measures reading a record from the ring and writing it to a capture.
func BenchmarkRecord(b *testing.B) {
	benchmark(b, func(src Source) Sink {
		return newRecorder(b, io.Discard, src)
	})
}

// BenchmarkRaw measures reading a record from the ring and printing it in the format raw.
func BenchmarkRaw(b *testing.B) {
	benchmark(b, func(Source) Sink { return &Writer{W: io.Discard, Format: NewFormat(Raw, FormatOptions{})} })
}
