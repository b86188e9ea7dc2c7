package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
)

// rig has what all benchmarks of a run share: the peers, the CPUs and the sizes.
type rig struct {
	ctx  context.Context
	c    *harness.Peer // bench/peer, with libbpf
	g    *harness.Peer // this program
	cpus []int         // the producer's CPU, then that of the peers
	size sizes
}

// sizes has the amounts of work in one round of each benchmark.
type sizes struct {
	ring    uint32 // size in bytes of the rings that are filled before they are read
	passes  uint64 // passes over the records of the hot benchmark
	records uint64 // of a stream
	wakes   uint64
	nodes   uint64 // of a list
	keys    uint64 // of a large table
	lookups uint64
	gets    uint64 // requests by UDP
	rings   int    // that drops counts
	laps    int    // over these rings
}

var (
	fullSize  = sizes{ring: 16 << 20, passes: 2000, records: 2_000_000, wakes: 500, nodes: 1_000_000, keys: 1_000_000, lookups: 500_000, gets: 100_000, rings: 500, laps: 3}
	quickSize = sizes{ring: 64 << 10, passes: 20, records: 20_000, wakes: 20, nodes: 1000, keys: 10_000, lookups: 1000, gets: 1000, rings: 5, laps: 1}
)

// newRig starts the peers, which end with ctx.
func newRig(ctx context.Context, o options) (*rig, error) {
	r := &rig{ctx: ctx, size: fullSize}
	if o.quick {
		r.size = quickSize
	}
	path, err := exec.LookPath(o.peer)
	if err != nil {
		return nil, fmt.Errorf("find the C peer (make bench builds it): %w", err)
	}
	r.cpus = make([]int, 2)
	if _, err := fmt.Sscan(os.Getenv(cpusEnv), &r.cpus[0], &r.cpus[1]); err != nil {
		return nil, fmt.Errorf("%s: %w", cpusEnv, err)
	}
	if r.c, err = harness.StartPeer(ctx, r.cpus[1:], path); err != nil {
		return nil, err
	}
	if r.g, err = r.goPeer(r.cpus[1:]); err != nil {
		return nil, errors.Join(err, r.c.Close())
	}
	return r, nil
}

// goPeer starts this program as a peer on CPUs.
func (r *rig) goPeer(cpus []int) (*harness.Peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return harness.StartPeer(r.ctx, cpus, self, roleEnv+"="+rolePeer)
}

// close ends the peers and waits for them.
func (r *rig) close() error { return errors.Join(r.c.Close(), r.g.Close()) }

// newRing returns a ring and its id, by which peers open it.
func newRing(size uint32) (*ebpf.Map, ebpf.MapID, error) { return newRingOf(ebpf.RingBuf, size) }

func newRingOf(typ ebpf.MapType, size uint32) (*ebpf.Map, ebpf.MapID, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench", Type: typ, MaxEntries: size})
	if err != nil {
		return nil, 0, fmt.Errorf("create ring: %w", err)
	}
	id, err := idOf(m)
	if err != nil {
		return nil, 0, errors.Join(err, m.Close())
	}
	return m, id, nil
}

func idOf(m *ebpf.Map) (ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("map has no id")
	}
	return id, nil
}

// benchmarks lists the benchmarks in the order in which they run.
var benchmarks = []struct {
	name string
	new  func(*rig) (*harness.Benchmark, error)
}{
	{"consume/16", func(r *rig) (*harness.Benchmark, error) { return newConsume(r, 16, 16) }},
	{"consume/64", func(r *rig) (*harness.Benchmark, error) { return newConsume(r, 64, 64) }},
	{"consume/256", func(r *rig) (*harness.Benchmark, error) { return newConsume(r, 256, 256) }},
	{"consume/1024", func(r *rig) (*harness.Benchmark, error) { return newConsume(r, 1024, 1024) }},
	{"consume/random", func(r *rig) (*harness.Benchmark, error) { return newConsume(r, 16, 128) }},
	{"hot/16", func(r *rig) (*harness.Benchmark, error) { return newHot(r, 16, 16) }},
	{"hot/random", func(r *rig) (*harness.Benchmark, error) { return newHot(r, 16, 128) }},
	{"stream/default", func(r *rig) (*harness.Benchmark, error) { return newStream(r, 0) }},
	{"stream/batched", func(r *rig) (*harness.Benchmark, error) { return newStream(r, 256<<10) }},
	{"wake/sleeping", func(r *rig) (*harness.Benchmark, error) { return newWake(r, sleepGap) }},
	{"wake/soon", func(r *rig) (*harness.Benchmark, error) { return newWake(r, soonGap) }},
	{"observed/libbpf", func(r *rig) (*harness.Benchmark, error) { return newObserved(r, r.c, "libbpf") }},
	{"observed/cilium", func(r *rig) (*harness.Benchmark, error) { return newObserved(r, r.g, "cilium") }},
	{"userring/16", func(r *rig) (*harness.Benchmark, error) { return newUserring(r, 16) }},
	{"userring/64", func(r *rig) (*harness.Benchmark, error) { return newUserring(r, 64) }},
	{"userring/256", func(r *rig) (*harness.Benchmark, error) { return newUserring(r, 256) }},
	{"usermany/64", newUsermany},
	{"tokernel/64", newTokernel},
	{"roundtrip/64", newRoundtrip},
	{"arenalist/1M", newArenaList},
	{"lookup/hot", func(r *rig) (*harness.Benchmark, error) { return newLookup(r, 1000, 1.0/20) }},
	{"lookup/random", func(r *rig) (*harness.Benchmark, error) { return newLookup(r, r.size.keys, 1.0/3) }},
	{"arenaget/64", newArenaGet},
	{"drops/room", func(r *rig) (*harness.Benchmark, error) { return newDrops(r, false) }},
	{"drops/full", func(r *rig) (*harness.Benchmark, error) { return newDrops(r, true) }},
}
