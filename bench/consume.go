package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
)

// consume is the benchmark of reading a full ring that another CPU has filled: the reader loads the
// records from that CPU's caches and from memory.
type consume struct {
	m   *ebpf.Map
	id  ebpf.MapID
	p   *producer.Producer
	job producer.Job
}

var perRecord = []harness.Metric{{Name: "time", Unit: "ns/record"}}

// newConsume returns the benchmark for records of size bytes or, if maxSize is larger, of size to
// maxSize bytes.
func newConsume(r *rig, size, maxSize uint32) (*harness.Benchmark, error) {
	m, id, err := newRing(r.size.ring)
	if err != nil {
		return nil, err
	}
	p, err := producer.Load(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	c := &consume{m: m, id: id, p: p}
	c.job = producer.Job{Size: size, MaxSize: maxSize, Wakeup: producer.NoWakeup}
	if size != maxSize {
		c.job.Op = producer.Output
	}
	way := func(peer *harness.Peer, name string) func(context.Context) ([]float64, error) {
		return func(ctx context.Context) ([]float64, error) { return c.round(ctx, peer, name) }
	}
	return &harness.Benchmark{
		Title:   fmt.Sprintf("a full ring of %d KiB, written by the other CPU", r.size.ring>>10),
		Metrics: perRecord,
		Contenders: []harness.Contender{
			{Name: libbpf, Run: way(r.c, "libbpf")},
			{Name: libbpfAgain, Run: way(r.c, "libbpf")},
			{Name: cLoop, Run: way(r.c, "loop")},
			{Name: cilium, Run: way(r.g, "cilium")},
			{Name: ourPass, Run: way(r.g, "pass")},
			{Name: "ours, Records", Run: way(r.g, "records")},
			{Name: "ours, ReadInto", Run: way(r.g, "readinto")},
			{Name: dropIn, Run: way(r.g, "dropin")},
			{Name: "ours, Read (copies)", Run: way(r.g, "read")},
		},
		Claims: consumeClaims(size, maxSize),
		Close:  func() error { return errors.Join(p.Close(), m.Close()) },
	}, nil
}

// Names of contenders in several benchmarks.
const (
	libbpf      = "libbpf"
	libbpfAgain = "libbpf again"
	cLoop       = "C loop (floor)"
	cilium      = "cilium/ebpf, ReadInto"
	ourPass     = "ours, Pass"
	dropIn      = "ours, ringbuf.ReadInto"
)

func consumeClaims(size, maxSize uint32) []harness.Claim {
	claims := []harness.Claim{{Contender: ourPass, Metric: "time", Base: libbpf, Limit: 0.5, Floor: cLoop}}
	switch {
	case size != maxSize:
		claims[0].Limit = 1
	case size <= 64:
		claims = append(claims, harness.Claim{Contender: ourPass, Metric: "time", Base: cilium, Limit: 0.2})
	}
	return claims
}

// round fills the ring and makes peer read it.
func (c *consume) round(ctx context.Context, peer *harness.Peer, way string) ([]float64, error) {
	want, err := c.fill(ctx)
	if err != nil {
		return nil, err
	}
	got, err := peer.Call("consume", c.id, way, want.records)
	if err != nil {
		return nil, err
	}
	return perRecordFigure(got, want)
}

// perRecordFigure verifies a peer's answer (ns, records and sum) and returns the ns per record.
func perRecordFigure(got []uint64, want tally) ([]float64, error) {
	if len(got) != 3 || (tally{got[1], got[2]}) != want {
		return nil, fmt.Errorf("read %v (ns, records, sum), want %v (records, sum)", got, want)
	}
	return []float64{float64(got[0]) / float64(want.records)}, nil
}

// fill produces as many records as the ring holds.
func (c *consume) fill(ctx context.Context) (tally, error) {
	want := c.fit()
	c.job.Count = want.records
	res, err := c.p.Run(ctx, c.job)
	if err == nil && res.Submitted != want.records {
		err = fmt.Errorf("produced %d records, want %d", res.Submitted, want.records)
	}
	c.job.Seq += want.records
	return want, err
}

// fit returns the count and sum of the next records that fit into the ring.
func (c *consume) fit() tally {
	// The records fill at most all bytes but one: if they filled the ring, the positions of
	// producer and consumer would be equal modulo its size.
	room := uint64(c.m.MaxEntries()) - 1
	var t tally
	for seq := c.job.Seq; ; seq++ {
		n := c.job.Len(seq)
		if ring.Span(n) > room {
			return t
		}
		room -= ring.Span(n)
		t.add(1, seq+uint64(n))
	}
}

// peerConsume serves the request "consume MAP WAY RECORDS" in the Go peer.
func peerConsume(req *harness.Request) ([]uint64, error) {
	m, err := openRing(req)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	rd, err := openReader(m, req.Word(1))
	if err != nil {
		return nil, err
	}
	defer rd.close()
	var t tally
	n := req.Number(2)
	start := time.Now()
	err = rd.read(n, &t)
	ns := time.Since(start)
	if err != nil {
		return nil, err
	}
	return []uint64{uint64(ns), t.records, t.sum}, req.Err()
}
