package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
)

// listName is the name of the benchmark's list in the arena.
const listName = "list"

// numbered mirrors struct numbered of arenaset.bpf.c.
type numbered struct {
	container.Link
	Number uint64
}

// newArenaList returns the benchmark of walking a list that a BPF program built.
func newArenaList(r *rig) (*harness.Benchmark, error) {
	h, id, err := newArena(256 << 20)
	if err != nil {
		return nil, err
	}
	var root container.Root
	_, err = container.NewList(h, listName)
	if err == nil {
		root, err = h.Root(listName, container.KindList)
	}
	if err == nil {
		err = runJob(h, arenaset.ListBuild, arenaset.Job{On: uint64(root.Ptr), Count: r.size.nodes})
	}
	if err != nil {
		h.Arena().Close()
		return nil, err
	}
	n := r.size.nodes
	want := tally{records: n, sum: n * (n - 1) / 2}
	way := func(peer *harness.Peer, name string) func(context.Context) ([]float64, error) {
		return func(context.Context) ([]float64, error) {
			got, err := peer.Call("arenalist", id, name, uint64(root.Ptr))
			if err != nil {
				return nil, err
			}
			return perRecordFigure(got, want)
		}
	}
	const base, ours = "C loop", "ours, Nodes"
	return &harness.Benchmark{
		Title:   fmt.Sprintf("a list of %d nodes that a BPF program built, walked in user space", n),
		Metrics: []harness.Metric{{Name: "time", Unit: "ns/node"}},
		Contenders: []harness.Contender{
			{Name: base, Run: way(r.c, "loop")},
			{Name: base + " again", Run: way(r.c, "loop")},
			{Name: ours, Run: way(r.g, "nodes")},
		},
		Claims: []harness.Claim{{Contender: ours, Metric: "time", Base: base, Limit: 1.2}},
		Close:  h.Arena().Close,
	}, nil
}

// peerArenaList serves the request "arenalist MAP WAY LIST" in the Go peer: WAY names the loop to time,
// LIST is the address of the list.
func peerArenaList(req *harness.Request) ([]uint64, error) {
	h, err := openArena(req)
	if err != nil {
		return nil, err
	}
	defer h.Arena().Close()
	l, err := container.OpenList(h, listName)
	if err != nil {
		return nil, err
	}
	var t tally
	var ns time.Duration
	for range 2 { // the first pass maps the pages
		t = tally{}
		start := time.Now()
		for node, err := range container.Nodes[numbered](l) {
			if err != nil {
				return nil, err
			}
			t.records++
			t.sum += node.Number
		}
		ns = time.Since(start)
	}
	return []uint64{uint64(ns), t.records, t.sum}, req.Err()
}
