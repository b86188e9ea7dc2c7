package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/bpf/arenaxdp"
	"github.com/rbtool/rbtool/internal/netpair"
)

const (
	kvName = "kv"
	// getKeys is the number of keys in the table. The client requests them in turn.
	getKeys = 1000
)

// getRig has a table in an arena, and the network namespaces of a server and a client.
type getRig struct {
	r              *rig
	h              *container.Heap
	kv             *container.KV
	pair           *netpair.Pair
	server, client napi
}

// newArenaGet returns the benchmark of answering GET requests over UDP from a table in an arena.
// The contenders are a Go server in this process and an XDP program in the kernel.
func newArenaGet(r *rig) (*harness.Benchmark, error) {
	g := &getRig{r: r}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	const base, ours = "Go UDP server", "ours, arenaxdp"
	const cpu = "server's CPU"
	return &harness.Benchmark{
		Title: "GET requests by UDP over veth, values of 64 bytes, 32 in flight",
		Metrics: []harness.Metric{
			{Name: cpu, Unit: "ns/GET"},
			{Name: "all CPU", Unit: "ns/GET"},
			{Name: "rate", Unit: "GETs/s", MoreIsBetter: true},
		},
		Contenders: []harness.Contender{
			{Name: base, Run: g.goServer},
			{Name: base + " again", Run: g.goServer},
			{Name: ours, Run: g.xdp},
		},
		Claims: []harness.Claim{{Contender: ours, Metric: cpu, Base: base, Limit: 1.0 / 3}},
		Close:  g.close,
	}, nil
}

func (g *getRig) open() (err error) {
	if g.h, _, err = newArena(4 << 20); err != nil {
		return err
	}
	if g.kv, err = container.NewKV(g.h, kvName, getKeys); err != nil {
		return err
	}
	value := make([]byte, 64)
	for i := range getKeys {
		if err := g.kv.Put(fmt.Sprint("key", i), value); err != nil {
			return err
		}
	}
	if g.pair, err = netpair.New(); errors.Is(err, netpair.ErrNotSupported) {
		return fmt.Errorf("%w: %w", ebpf.ErrNotSupported, err)
	} else if err != nil {
		return err
	}
	// Without NAPI threads, veth processes packets on the CPU that sends them.
	if g.server, err = threadNAPI(g.pair.Server, g.r.cpus[1]); err != nil {
		return err
	}
	g.client, err = threadNAPI(g.pair.Client, g.r.cpus[0])
	return err
}

func (g *getRig) close() error {
	var errs []error
	if g.pair != nil {
		errs = append(errs, g.pair.Close())
	}
	if g.h != nil {
		errs = append(errs, g.h.Arena().Close())
	}
	return errors.Join(errs...)
}

// goServer measures the Go server, without the XDP program.
func (g *getRig) goServer(ctx context.Context) (figures []float64, err error) {
	var s *arenaxdp.Server
	err = g.pair.Server.Do(func() error {
		s, err = arenaxdp.Listen(g.kv, arenaxdp.Options{Interface: g.pair.Server.Device})
		return err
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error)
	go func() { served <- s.Serve(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	return g.measure()
}

// xdp measures the XDP program, without the Go server.
func (g *getRig) xdp(context.Context) (figures []float64, err error) {
	var x *arenaxdp.Accelerator
	err = g.pair.Server.Do(func() error {
		x, err = arenaxdp.Attach(g.h, kvName, arenaxdp.Options{Interface: g.pair.Server.Device, Mode: link.XDPDriverMode})
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	return g.measure()
}

// measure makes the C peer send the requests, and returns the figures of the metrics.
func (g *getRig) measure() ([]float64, error) {
	gets := g.r.size.gets
	ask := func(timed int) ([]uint64, error) {
		return g.r.c.Call("udpget", g.pair.Client.Namespace(), g.pair.Server.IPv4, arenaxdp.DefaultPort, gets, getKeys, timed)
	}
	if _, err := ask(0); err != nil { // waits until the server answers
		return nil, err
	}
	server, client, err := g.cpuTimes()
	if err != nil {
		return nil, err
	}
	got, err := ask(1)
	if err != nil {
		return nil, err
	}
	serverNow, clientNow, err := g.cpuTimes()
	if err != nil {
		return nil, err
	}
	if len(got) != 4 || got[2] != gets || got[3] != 0 {
		return nil, fmt.Errorf("answer %v (ns, ns of CPU, answered, wrong) to %d requests", got, gets)
	}
	each := func(ns int64) float64 { return float64(ns) / float64(got[2]) }
	server, client = serverNow-server, clientNow-client+int64(got[1])
	return []float64{each(server), each(server + client), 1e9 * float64(got[2]) / float64(got[0])}, nil
}

// cpuTimes returns the CPU time of the server's side (its kernel threads and this process) and that
// of the client's kernel threads.
func (g *getRig) cpuTimes() (server, client int64, err error) {
	server, err = g.server.cpuTime()
	if err != nil {
		return 0, 0, err
	}
	own, err := cpuTime(0)
	if err != nil {
		return 0, 0, err
	}
	client, err = g.client.cpuTime()
	return server + own, client, err
}
