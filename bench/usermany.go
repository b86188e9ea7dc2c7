package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/userprod"
)

// newUsermany returns the benchmark of several goroutines that write to one user ring at the same
// time, on both CPUs.
func newUsermany(r *rig) (*harness.Benchmark, error) {
	m, id, l, err := newUserRing(r.size.ring)
	if err != nil {
		return nil, err
	}
	prog, err := l.ID()
	if err != nil {
		return nil, errors.Join(err, l.Close(), m.Close())
	}
	peer, err := r.goPeer(r.cpus)
	if err != nil {
		return nil, errors.Join(err, l.Close(), m.Close())
	}
	const passes = 4
	// n is the number of samples that fit into the ring, at most as many as one drain consumes,
	// rounded down to a multiple of all batch sizes.
	n := min(uint64(r.size.ring)/72, 128<<10) &^ (4*userBatch - 1)
	way := func(goroutines int) func(context.Context) ([]float64, error) {
		return func(context.Context) ([]float64, error) {
			got, err := peer.Call("usermany", id, goroutines, prog, passes, n)
			if err != nil {
				return nil, err
			}
			if len(got) != 1 {
				return nil, fmt.Errorf("answer %d, want one number (ns)", got)
			}
			if _, err := userFigures(got, l, passes*n); err != nil {
				return nil, err
			}
			return []float64{1e3 * float64(passes*n) / float64(got[0])}, nil
		}
	}
	const one, four = "one goroutine", "4 goroutines"
	return &harness.Benchmark{
		Title:   "samples of 64 bytes in batches of 64, on two CPUs",
		Metrics: []harness.Metric{{Name: "write", Unit: "Msamples/s", MoreIsBetter: true}},
		Contenders: []harness.Contender{
			{Name: one, Run: way(1)},
			{Name: one + " again", Run: way(1)},
			{Name: "2 goroutines", Run: way(2)},
			{Name: four, Run: way(4)},
		},
		Claims: []harness.Claim{{Contender: four, Metric: "write", Base: one, Limit: 0.8}},
		Close:  func() error { return errors.Join(peer.Close(), l.Close(), m.Close()) },
	}, nil
}

// peerUsermany serves the request "usermany MAP GOROUTINES PROGRAM PASSES SAMPLES" in the Go peer.
func peerUsermany(req *harness.Request) ([]uint64, error) {
	p, prog, err := openUserRing(req)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	defer prog.Close()
	var writing time.Duration
	goroutines, passes, n := req.Number(1), req.Number(3), req.Number(4)
	for seq := uint64(0); seq < passes*n; seq += n {
		start := time.Now()
		err := writeTogether(p, goroutines, seq, n)
		writing += time.Since(start)
		if err == nil {
			err = drainAll(prog, n)
		}
		if err != nil {
			return nil, err
		}
	}
	return []uint64{uint64(writing)}, req.Err()
}

// writeTogether starts goroutines, each of which writes its part of the n samples from number seq
// on.
func writeTogether(p *userprod.Producer, goroutines, seq, n uint64) error {
	var all sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		all.Go(func() {
			first, end := seq+g*n/goroutines, seq+(g+1)*n/goroutines
			for at := first; at < end && errs[g] == nil; at += userBatch {
				errs[g] = writeSamples[sample64](p, at, at+userBatch, 0)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
