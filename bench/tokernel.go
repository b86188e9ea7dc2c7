package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
)

type runFunc = func(context.Context) ([]float64, error)

// runOther makes the C peer write the samples to an array map or a pipe, as name says, in the given
// number of passes.
func runOther(c *harness.Peer, name string, array *ebpf.Map, id ebpf.MapID, passes uint64) runFunc {
	return func(context.Context) ([]float64, error) {
		got, err := c.Call("tokernel", id, name, passes, userSamples)
		if err != nil {
			return nil, err
		}
		var last [64]byte
		if err := array.Lookup(uint32(userSamples-1), &last); err != nil {
			return nil, fmt.Errorf("look up the last value: %w", err)
		}
		return []float64{float64(got[0]) / float64(passes*userSamples)}, nil
	}
}

// newTokernel returns the benchmark of passing 64 bytes to the kernel: through a user ring that is
// written and drained, as a value of an array map, and through a pipe.
func newTokernel(r *rig) (*harness.Benchmark, error) {
	m, id, l, err := newUserRing(512 << 10)
	if err != nil {
		return nil, err
	}
	array, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "bench", Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: userSamples,
	})
	if err != nil {
		return nil, errors.Join(err, l.Close(), m.Close())
	}
	closeAll := func() error { return errors.Join(array.Close(), l.Close(), m.Close()) }
	prog, err := l.ID()
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	info, err := array.Info()
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	arrayID, _ := info.ID()
	passes := max(r.size.passes/16, 1)
	n := passes * userSamples
	rings := func(peer *harness.Peer, name string) runFunc {
		return func(context.Context) ([]float64, error) {
			got, err := peer.Call("userring", id, name, prog, passes, userSamples, 64)
			if err != nil {
				return nil, err
			}
			figures, err := userFigures(got, l, n)
			if err != nil {
				return nil, err
			}
			return []float64{figures[0] + figures[1]}, nil
		}
	}
	other := func(name string) runFunc { return runOther(r.c, name, array, arrayID, passes) }
	return &harness.Benchmark{
		Title:   "64 bytes from user space to the kernel, in all",
		Metrics: []harness.Metric{{Name: "time", Unit: "ns/sample"}},
		Contenders: []harness.Contender{
			{Name: libbpf, Run: rings(r.c, "libbpf")},
			{Name: libbpfAgain, Run: rings(r.c, "libbpf")},
			{Name: "ours, Samples, each published", Run: rings(r.g, "samples/1")},
			{Name: "ours, WriteAll", Run: rings(r.g, "bulk")},
			{Name: "bpf_map_update_elem of an array", Run: other("update")},
			{Name: "bpf_map_update_batch of an array", Run: other("batch")},
			{Name: "pipe, written one by one", Run: other("pipe")},
		},
		Close: closeAll,
	}, nil
}
