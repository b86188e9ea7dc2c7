package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/bench/load"
	"github.com/rbtool/rbtool/consumer"
)

// wake is the benchmark of the time from the commit of a record until the consumer has it. The BPF
// program writes the time of the commit into the record.
type wake struct {
	id    ebpf.MapID
	l     *load.Load
	wakes uint64
	gap   time.Duration
}

// The shortest gaps between two records. Gaps are random; the longest is twice as long.
const (
	sleepGap = 200 * time.Microsecond // the consumer is asleep, unless it spins for longer
	soonGap  = 20 * time.Microsecond  // a consumer that spins for [spin] finds the next record
)

// spin is the value of Options.BusyPoll: longer than all gaps with soonGap and shorter than all
// with sleepGap.
const spin = 50 * time.Microsecond

func newWake(r *rig, gap time.Duration) (*harness.Benchmark, error) {
	m, id, err := newRing(64 << 10)
	if err != nil {
		return nil, err
	}
	l, err := load.New(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	w := &wake{id: id, l: l, wakes: r.size.wakes, gap: gap}
	way := func(peer *harness.Peer, name string, busy time.Duration) func(context.Context) ([]float64, error) {
		return func(ctx context.Context) ([]float64, error) { return w.round(ctx, peer, name, busy) }
	}
	const sleeps = "ours, Wait and Pass"
	spins := fmt.Sprintf("ours, BusyPoll %v", spin)
	b := &harness.Benchmark{
		Title:   fmt.Sprintf("from commit to record in hand, a record every %v to %v", gap, 2*gap),
		Metrics: []harness.Metric{{Name: "p50", Unit: "µs"}, {Name: "p99", Unit: "µs"}},
		Contenders: []harness.Contender{
			{Name: libbpf, Run: way(r.c, "libbpf", 0)},
			{Name: libbpfAgain, Run: way(r.c, "libbpf", 0)},
			{Name: cilium, Run: way(r.g, "cilium", 0)},
			{Name: sleeps, Run: way(r.g, "pass", 0)},
			{Name: spins, Run: way(r.g, "pass", spin)},
		},
		Claims: []harness.Claim{{Contender: sleeps, Metric: "p50", Base: libbpf, Limit: 1, Noise: true}},
		Close:  func() error { return errors.Join(l.Close(), m.Close()) },
	}
	if gap < spin {
		b.Claims = append(b.Claims, harness.Claim{Contender: spins, Metric: "p50", Limit: 2})
	}
	return b, nil
}

// round makes peer wait for records that are produced one at a time.
func (w *wake) round(ctx context.Context, peer *harness.Peer, way string, busy time.Duration) ([]float64, error) {
	if err := peer.Begin("wake", w.id, way, w.wakes, busy.Nanoseconds()); err != nil {
		return nil, err
	}
	if err := w.produce(ctx); err != nil {
		return nil, err
	}
	ns, err := peer.Answer()
	if err != nil {
		return nil, err
	}
	if uint64(len(ns)) != w.wakes {
		return nil, fmt.Errorf("received %d records, want %d", len(ns), w.wakes)
	}
	return []float64{harness.Quantile(ns, 0.5) / 1e3, harness.Quantile(ns, 0.99) / 1e3}, nil
}

func (w *wake) produce(ctx context.Context) error {
	for seq := range w.wakes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := rest(w.gap + rand.N(w.gap)); err != nil {
			return err
		}
		if err := w.l.Stamp(seq); err != nil {
			return err
		}
	}
	return nil
}

// rest waits for d. If d is short it polls the clock: a sleep would end late, by as much as the
// wakeups that are measured.
func rest(d time.Duration) error {
	if d < sleepGap {
		for start := time.Now(); time.Since(start) < d; {
		}
		return nil
	}
	t := unix.NsecToTimespec(d.Nanoseconds())
	if err := unix.Nanosleep(&t, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("sleep: %w", err)
	}
	return nil
}

// peerWake serves the request "wake MAP WAY RECORDS BUSY_POLL" in the Go peer.
func peerWake(req *harness.Request) ([]uint64, error) {
	m, err := openRing(req)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	d := delays{clock: newClock(), ns: make([]uint64, 0, req.Number(2))}
	if req.Word(1) == "cilium" {
		return wakeCilium(req, m, d)
	}
	return wakePass(req, m, d)
}

// delays collects, for each record, the ns from its commit until the consumer has it.
type delays struct {
	clock clock
	ns    []uint64
}

func (d *delays) missing() bool { return len(d.ns) < cap(d.ns) }

func (d *delays) see(data []byte) {
	in, committed := d.clock.now(), binary.LittleEndian.Uint64(data)
	// A difference below 0 counts as 0: the two clocks agree only to some tens of ns.
	d.ns = append(d.ns, max(in, committed)-committed)
}

func wakeCilium(req *harness.Request, m *ebpf.Map, d delays) ([]uint64, error) {
	r, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.SetDeadline(time.Now().Add(patience))
	var rec ringbuf.Record
	req.Ready()
	for d.missing() {
		if err := r.ReadInto(&rec); err != nil {
			return nil, err
		}
		d.see(rec.RawSample)
	}
	return d.ns, req.Err()
}

func wakePass(req *harness.Request, m *ebpf.Map, d delays) ([]uint64, error) {
	r, err := consumer.NewReader(m, consumer.Options{BusyPoll: time.Duration(req.Number(3))})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// The reads take a context with a deadline, as those of a program that can be stopped do.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req.Ready()
	for d.missing() {
		if err := r.Wait(ctx); err != nil {
			return nil, err
		}
		for rec := range r.Pass(0) {
			d.see(rec.Data)
		}
	}
	return d.ns, req.Err()
}

// clock reads CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns, by time.Now. x/sys would make a
// system call for clock_gettime(2), which takes longer.
type clock struct {
	start time.Time
	base  uint64 // CLOCK_MONOTONIC at start, ns
}

// newClock reads CLOCK_MONOTONIC between two calls of time.Now. It keeps the shortest of several
// attempts, and assumes that CLOCK_MONOTONIC was read halfway between the two calls.
func newClock() clock {
	var c clock
	shortest := time.Hour
	for range 100 {
		before := time.Now()
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
			panic(err) // cannot happen: the clock exists on every Linux
		}
		if took := time.Since(before); took < shortest {
			shortest = took
			c = clock{start: before.Add(took / 2), base: uint64(t.Nano())}
		}
	}
	return c
}

func (c clock) now() uint64 { return c.base + uint64(time.Since(c.start)) }
