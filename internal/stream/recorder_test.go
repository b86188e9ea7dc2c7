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

// What an observer could not read is marked at the record before which it is missing.
func TestLossesAreMarkedWhereTheyAre(t *testing.T) {
	m := testenv.Ring(t, 4096)
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
	rec := &Recorder{Writer: &Writer{W: &file}, Source: src}
	s := &Stream{Source: src, Sink: rec}
	if err := rec.Begin(capture.Info{Type: ebpf.RingBuf, Size: 4096}); err != nil {
		t.Fatal(err)
	}
	// Three rounds of 16 bytes each; in the second the owner gets ahead of the observer by a ring.
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
	r, err := capture.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	lost, end := uint64(0), uint64(0)
	for {
		rec, err := r.Next()
		if errors.Is(err, capture.ErrUnfinished) {
			break
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
	if want[0] != 0 || want[1] == 0 || want[2] != want[1] || lost != want[2] {
		t.Errorf("the observer lost %d bytes after each round; the capture says %d", want, lost)
	}
}

// What it costs to write a record of 16 bytes into a capture, the reading of it included.
func BenchmarkRecord(b *testing.B) {
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
	const records = 100_000
	if _, err := p.Run(b.Context(), producer.Job{Op: producer.Output, Count: records, Size: 16}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		src, err := Observe(m, consumer.ObserverOptions{})
		if err != nil {
			b.Fatal(err)
		}
		rec := &Recorder{Writer: &Writer{W: io.Discard}, Source: src}
		s := &Stream{Source: src, Sink: rec, Limits: Limits{Records: records}, Batch: 256}
		begin := rec.Begin(capture.Info{Type: ebpf.RingBuf, Size: 1 << 22})
		if err := errors.Join(begin, s.Run(b.Context()), rec.Finish(records)); err != nil {
			b.Fatal(err)
		}
		src.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}

// What it costs to print a record of 16 bytes as it is, the reading of it included.
func BenchmarkRaw(b *testing.B) {
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
	const records = 100_000
	if _, err := p.Run(b.Context(), producer.Job{Op: producer.Output, Count: records, Size: 16}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		src, err := Observe(m, consumer.ObserverOptions{})
		if err != nil {
			b.Fatal(err)
		}
		s := &Stream{Source: src, Sink: &Writer{W: io.Discard, Format: NewFormat(Raw, nil, nil)}, Limits: Limits{Records: records}, Batch: 256}
		if err := s.Run(b.Context()); err != nil {
			b.Fatal(err)
		}
		src.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}
