package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/bench/load"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
)

// hotRecords is the number of records in a pass, which fit into the first-level cache.
const hotRecords = 256

// newHot returns the benchmark of reading cached records: a peer alternately fills the ring on its
// own CPU and reads it. Only the reading is timed.
func newHot(r *rig, size, maxSize uint32) (_ *harness.Benchmark, err error) {
	m, id, err := newRing(64 << 10)
	if err != nil {
		return nil, err
	}
	l, err := load.New(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	prog, err := l.RefillID()
	if err != nil {
		return nil, errors.Join(err, l.Close(), m.Close())
	}
	want := hotTally(r.size.passes*hotRecords, producer.Job{Size: size, MaxSize: maxSize})
	way := func(peer *harness.Peer, name string) func(context.Context) ([]float64, error) {
		return func(context.Context) ([]float64, error) {
			got, err := peer.Call("hot", id, name, prog, r.size.passes, hotRecords, size, maxSize)
			if err != nil {
				return nil, err
			}
			return perRecordFigure(got, want)
		}
	}
	return &harness.Benchmark{
		Title:   fmt.Sprintf("%d records in the cache, again and again", hotRecords),
		Metrics: perRecord,
		Contenders: []harness.Contender{
			{Name: libbpf, Run: way(r.c, "libbpf")},
			{Name: libbpfAgain, Run: way(r.c, "libbpf")},
			{Name: cLoop, Run: way(r.c, "loop")},
			{Name: cilium, Run: way(r.g, "cilium")},
			{Name: ourPass, Run: way(r.g, "pass")},
			{Name: "ours, ReadInto", Run: way(r.g, "readinto")},
			{Name: dropIn, Run: way(r.g, "dropin")},
			{Name: "ours, Read (copies)", Run: way(r.g, "read")},
		},
		Claims: []harness.Claim{{Contender: ourPass, Metric: "time", Base: libbpf, Limit: 1, Floor: cLoop}},
		Close:  func() error { return errors.Join(l.Close(), m.Close()) },
	}, nil
}

// hotTally returns the count and sum of the first n records of job.
func hotTally(n uint64, job producer.Job) tally {
	t := tally{records: n}
	for seq := range n {
		t.sum += seq + uint64(job.Len(seq))
	}
	return t
}

// peerHot serves the request "hot MAP WAY PROGRAM PASSES RECORDS SIZE MAX_SIZE" in the Go peer.
func peerHot(req *harness.Request) ([]uint64, error) {
	m, err := openRing(req)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	refill, err := load.OpenRefill(ebpf.ProgramID(req.Number(2)), uint32(req.Number(5)), uint32(req.Number(6)))
	if err != nil {
		return nil, err
	}
	defer refill.Close()
	var rd reader
	var t tally
	var ns time.Duration
	passes, n := req.Number(3), req.Number(4)
	for range passes {
		if err := refill.Run(n); err != nil {
			return nil, err
		}
		// The program wakes no reader. A reader of cilium/ebpf checks the ring only when it is
		// opened or woken, so it is opened after the first records are in the ring.
		if rd == nil {
			if rd, err = openReader(m, req.Word(1)); err != nil {
				return nil, err
			}
			defer rd.close()
		}
		start := time.Now()
		if err := rd.read(n, &t); err != nil {
			return nil, err
		}
		ns += time.Since(start)
	}
	return []uint64{uint64(ns), t.records, t.sum}, req.Err()
}
