package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/bench/userload"
)

// userSamples is the number of samples that a peer writes before it drains them.
const userSamples = 1024

// userBatch is the number of samples in a batch.
const userBatch = 64

// newUserRing returns a user ring, its id, and the program that drains it.
func newUserRing(size uint32) (m *ebpf.Map, id ebpf.MapID, l *userload.Load, err error) {
	if m, id, err = newRingOf(ebpf.UserRingbuf, size); err != nil {
		return nil, 0, nil, err
	}
	if l, err = userload.New(m); err != nil {
		return nil, 0, nil, errors.Join(err, m.Close())
	}
	return m, id, l, nil
}

// userMetrics describes the numbers of a peer's answer to the request userring.
var userMetrics = []harness.Metric{
	{Name: "write", Unit: "ns/sample"},
	{Name: "drain", Unit: "ns/sample"},
}

// newUserring returns the benchmark of writing samples of size bytes: a peer writes [userSamples]
// samples, drains them, and repeats that, so that the ring stays in the cache of its CPU.
func newUserring(r *rig, size uint32) (*harness.Benchmark, error) {
	m, id, l, err := newUserRing(512 << 10)
	if err != nil {
		return nil, err
	}
	prog, err := l.ID()
	if err != nil {
		return nil, errors.Join(err, l.Close(), m.Close())
	}
	n := r.size.passes / 4 * userSamples
	way := func(peer *harness.Peer, name string) func(context.Context) ([]float64, error) {
		return func(context.Context) ([]float64, error) {
			got, err := peer.Call("userring", id, name, prog, r.size.passes/4, userSamples, size)
			if err != nil {
				return nil, err
			}
			return userFigures(got, l, n)
		}
	}
	const (
		each   = "ours, Samples, each published"
		batch  = "ours, Samples, 64 published together"
		bulk   = "ours, WriteAll, 64 structs"
		safe   = "ours, TryWrite (many goroutines may)"
		handed = "ours, Reserve and Commit (many goroutines may)"

		lockedLoop = "C loop, locked reservations and commits"
	)
	limits := map[uint32][3]float64{16: {0.9, 0.6, 0.4}, 64: {1.1, 0.9, 0.65}, 256: {1.1, 1.0, 0.85}}[size]
	claim := func(name string, limit float64, floor string) harness.Claim {
		return harness.Claim{Contender: name, Metric: "write", Base: libbpf, Limit: limit, Floor: floor}
	}
	return &harness.Benchmark{
		Title:   fmt.Sprintf("%d samples of %d bytes written, then drained in the kernel, again and again", userSamples, size),
		Metrics: userMetrics,
		Contenders: []harness.Contender{
			{Name: libbpf, Run: way(r.c, "libbpf")},
			{Name: libbpfAgain, Run: way(r.c, "libbpf")},
			{Name: cLoop, Run: way(r.c, "loop")},
			{Name: lockedLoop, Run: way(r.c, "locked")},
			{Name: each, Run: way(r.g, "samples/1")},
			{Name: batch, Run: way(r.g, "samples/64")},
			{Name: "ours, Next, each published", Run: way(r.g, "next/1")},
			{Name: "ours, Next, 64 published together", Run: way(r.g, "next/64")},
			{Name: bulk, Run: way(r.g, "bulk")},
			{Name: safe, Run: way(r.g, "write")},
			{Name: handed, Run: way(r.g, "reserve")},
		},
		Claims: []harness.Claim{
			claim(each, limits[0], cLoop), claim(batch, limits[1], cLoop), claim(bulk, limits[2], cLoop),
			claim(safe, 2.2, cLoop), claim(handed, 2.2, lockedLoop),
		},
		Close: func() error { return errors.Join(l.Close(), m.Close()) },
	}, nil
}

// userFigures verifies that n samples were drained, and returns the times of the peer's answer
// divided by n.
func userFigures(got []uint64, l *userload.Load, n uint64) ([]float64, error) {
	t, err := l.Take()
	if err != nil {
		return nil, err
	}
	if want := (userload.Tally{Samples: n, Sum: n * (n - 1) / 2}); t.Samples != want.Samples || t.Sum != want.Sum {
		return nil, fmt.Errorf("drained %d samples with sum %d, want %d samples with sum %d", t.Samples, t.Sum, want.Samples, want.Sum)
	}
	var figures []float64
	for _, ns := range got {
		figures = append(figures, float64(ns)/float64(n))
	}
	return figures, nil
}
