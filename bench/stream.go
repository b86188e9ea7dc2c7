package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/consumer"
	dropin "github.com/rbtool/rbtool/consumer/ringbuf"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
)

// stream is the benchmark of reading records on one CPU while another produces them at full
// speed.
type stream struct {
	id  ebpf.MapID
	p   *producer.Producer
	job producer.Job
}

const (
	streamRing   = 16 << 20
	streamRecord = 64
	// coalesce is the value of Options.Coalesce that package consumer recommends for a high rate of
	// records.
	coalesce = 50 * time.Microsecond
)

// newStream returns the benchmark with default wakeups or, if wakeBytes is not 0, with a wakeup
// each time that wakeBytes bytes are in the ring.
func newStream(r *rig, wakeBytes uint64) (*harness.Benchmark, error) {
	m, id, err := newRing(streamRing)
	if err != nil {
		return nil, err
	}
	p, err := producer.Load(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	s := &stream{id: id, p: p}
	s.job = producer.Job{
		Count: r.size.records, Size: streamRecord, Fast: true, RetryFull: true,
		WakeBytes: wakeBytes, LastWakeup: producer.ForceWakeup,
	}
	way := func(peer *harness.Peer, name string, pause time.Duration) func(context.Context) ([]float64, error) {
		return func(ctx context.Context) ([]float64, error) { return s.round(ctx, peer, name, pause) }
	}
	coalesced := fmt.Sprintf("ours, Pass, Coalesce %v", coalesce)
	claim := harness.Claim{Contender: coalesced, Metric: "rate", Base: libbpf, Limit: 3}
	title := fmt.Sprintf("records of %d bytes from a flooding producer, default wakeups", streamRecord)
	if wakeBytes > 0 {
		claim.Limit = 1.2
		title = fmt.Sprintf("records of %d bytes from a flooding producer, a wakeup at %d KiB", streamRecord, wakeBytes>>10)
	}
	return &harness.Benchmark{
		Title:   title,
		Metrics: []harness.Metric{{Name: "rate", Unit: "Mrec/s", MoreIsBetter: true}},
		Contenders: []harness.Contender{
			{Name: libbpf, Run: way(r.c, "libbpf", 0)},
			{Name: libbpfAgain, Run: way(r.c, "libbpf", 0)},
			{Name: cilium, Run: way(r.g, "cilium", 0)},
			{Name: dropIn, Run: way(r.g, "dropin", 0)},
			{Name: ourPass, Run: way(r.g, "pass", 0)},
			{Name: coalesced, Run: way(r.g, "pass", coalesce)},
		},
		Claims: []harness.Claim{claim, {Contender: ourPass, Metric: "rate", Base: coalesced, Limit: 0.8}},
		Close:  func() error { return errors.Join(p.Close(), m.Close()) },
	}, nil
}

// patience is the longest time that a round may take.
const patience = 60 * time.Second

// round makes peer read all records of one run of the producer.
func (s *stream) round(ctx context.Context, peer *harness.Peer, way string, pause time.Duration) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := peer.Begin("stream", s.id, way, s.job.Count, pause.Nanoseconds()); err != nil {
		return nil, err
	}
	if _, err := s.p.Run(ctx, s.job); err != nil {
		return nil, err
	}
	got, err := peer.Answer()
	if err != nil {
		return nil, err
	}
	return s.rate(got)
}

// rate verifies a peer's answer and returns its rate in Mrec/s.
func (s *stream) rate(got []uint64) ([]float64, error) {
	if len(got) != 3 || got[1] != s.job.Count || got[2] != 0 {
		return nil, fmt.Errorf("read %v (ns, records, lost), want %d records and none lost", got, s.job.Count)
	}
	return []float64{float64(got[1]) / float64(got[0]) * 1e3}, nil
}

// flow checks the sequence numbers of the records of a stream, and times them.
type flow struct {
	next  uint64
	lost  uint64 // lost or out of order
	start time.Time
}

func (f *flow) see(data []byte) {
	seq := binary.LittleEndian.Uint64(data)
	if seq != f.next {
		f.lost++
	}
	f.next = seq + 1
}

// answer returns the peer's answer: the ns since the first record, the number of records, and how
// many were lost.
func (f *flow) answer() []uint64 {
	return []uint64{uint64(time.Since(f.start)), f.next, f.lost}
}

// peerStream serves the request "stream MAP WAY RECORDS COALESCE" in the Go peer.
func peerStream(req *harness.Request) ([]uint64, error) {
	m, err := openRing(req)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	// The reads take a context with a deadline, as those of a program that can be stopped do.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	want := req.Number(2)
	switch req.Word(1) {
	case "cilium":
		return streamCilium(req, m, want)
	case "dropin":
		return streamDropIn(req, m, want)
	}
	return streamPass(ctx, req, m, want)
}

func streamCilium(req *harness.Request, m *ebpf.Map, want uint64) ([]uint64, error) {
	r, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.SetDeadline(time.Now().Add(patience))
	var f flow
	var rec ringbuf.Record
	req.Ready()
	for f.next < want {
		if err := r.ReadInto(&rec); err != nil {
			return nil, err
		}
		if f.start.IsZero() {
			f.start = time.Now()
		}
		f.see(rec.RawSample)
	}
	return f.answer(), nil
}

func streamDropIn(req *harness.Request, m *ebpf.Map, want uint64) ([]uint64, error) {
	r, err := dropin.NewReader(m)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.SetDeadline(time.Now().Add(patience))
	var f flow
	var rec dropin.Record
	req.Ready()
	for f.next < want {
		if err := r.ReadInto(&rec); err != nil {
			return nil, err
		}
		if f.start.IsZero() {
			f.start = time.Now()
		}
		f.see(rec.RawSample)
	}
	return f.answer(), nil
}

func streamPass(ctx context.Context, req *harness.Request, m *ebpf.Map, want uint64) ([]uint64, error) {
	r, err := consumer.NewReader(m, consumer.Options{Coalesce: time.Duration(req.Number(3))})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var f flow
	req.Ready()
	for f.next < want {
		if err := r.Wait(ctx); err != nil {
			return nil, err
		}
		if f.start.IsZero() {
			f.start = time.Now()
		}
		next, lost := f.next, f.lost
		for rec := range r.Pass(0) {
			seq := binary.LittleEndian.Uint64(rec.Data)
			if seq != next {
				lost++
			}
			next = seq + 1
		}
		f.next, f.lost = next, lost
		if err := r.Err(); err != nil {
			return nil, err
		}
	}
	return f.answer(), nil
}
