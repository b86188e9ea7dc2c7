package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
)

// dropCalls is the number of calls of a run, whose records fit into a ring of 4 KiB.
const dropCalls = 64

// newDrops returns the benchmark of what package drops costs a program that calls bpf_ringbuf_output: on rings that are counted, and
// on those of a host that counts only another ring. If full is true the rings are, and calls fail.
func newDrops(r *rig, full bool) (_ *harness.Benchmark, err error) {
	rings, err := newDropRings(r.size.rings)
	if err != nil {
		return nil, err
	}
	if full {
		if err := rings.fill(); err != nil {
			return nil, errors.Join(err, rings.Close())
		}
	}
	run := func(context.Context) ([]float64, error) { return rings.run(r.size.laps, full) }
	b := &harness.Benchmark{
		Title:      fmt.Sprintf("bpf_ringbuf_output of up to 39 bytes to each of %d rings while drops counts", r.size.rings),
		Metrics:    []harness.Metric{{Name: "time", Unit: "ns/call"}},
		Contenders: []harness.Contender{{Name: "not counted", Run: run}, {Name: "not counted again", Run: run}},
		Close:      rings.Close,
	}
	if full {
		b.Title += ", all full"
	}
	for _, e := range []drops.Engine{drops.Fexit, drops.Breakpoint} {
		for _, way := range []struct {
			name string
			maps []ebpf.MapID
		}{{"all rings", nil}, {"only another ring", []ebpf.MapID{rings.other}}} {
			o := drops.Options{Engine: e, Maps: way.maps}
			c := harness.Contender{Name: e.String() + ", " + way.name}
			if c.Missing, err = missing(o); err != nil {
				return nil, errors.Join(err, rings.Close())
			}
			c.Run = func(ctx context.Context) ([]float64, error) {
				return counted(o, func() ([]float64, error) { return run(ctx) })
			}
			b.Contenders = append(b.Contenders, c)
		}
	}
	return b, nil
}

// missing returns why the kernel cannot count so, or nil.
func missing(o drops.Options) (why, err error) {
	c, err := drops.New(o)
	var lacks *drops.EngineError
	if errors.As(err, &lacks) {
		return fmt.Errorf("%s: %w", lacks.Probe, lacks.Err), nil
	}
	if err != nil {
		return nil, err
	}
	return nil, c.Close()
}

// counted calls run while drops counts.
func counted(o drops.Options, run func() ([]float64, error)) ([]float64, error) {
	c, err := drops.New(o)
	if err != nil {
		return nil, err
	}
	figures, err := run()
	return figures, errors.Join(err, c.Close())
}

// dropRings are rings, and a program that writes to one of them.
type dropRings struct {
	set     *reservers.Set
	other   ebpf.MapID // a ring to which nothing writes
	rings   []*ebpf.Map
	readers []*consumer.Reader
}

func newDropRings(n int) (_ *dropRings, err error) {
	d := new(dropRings)
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.set, err = reservers.Load(reservers.Config{Steps: dropCalls, MaxSize: 40}, reservers.InnerRing); err != nil {
		return nil, err
	}
	if d.other, err = idOf(d.set.Ring); err != nil {
		return nil, err
	}
	for i := range n {
		m, _, err := newRing(4096)
		if err != nil {
			return nil, err
		}
		d.rings = append(d.rings, m)
		if err := d.set.PutInner(uint32(i), m); err != nil {
			return nil, err
		}
		reader, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			return nil, err
		}
		d.readers = append(d.readers, reader)
	}
	return d, nil
}

// run calls the helper for each ring in turn and returns the time of a call. It verifies which calls fail: nearly all if
// full is true, since the smallest may find room, else none.
func (d *dropRings) run(laps int, full bool) ([]float64, error) {
	var took time.Duration
	calls, failed, err := d.during(func() error {
		for range laps {
			for i := range d.rings {
				t, err := d.call(i)
				if err != nil {
					return err
				}
				took += t
				if full {
					continue
				}
				for range d.readers[i].Pass(0) {
				}
				if err := d.readers[i].Err(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if calls != uint64(laps*len(d.rings)*dropCalls) || full && failed < calls/100*99 || !full && failed != 0 {
		return nil, fmt.Errorf("%d of %d calls failed", failed, calls)
	}
	return []float64{float64(took.Nanoseconds()) / float64(calls)}, nil
}

// call calls the helper dropCalls times for a ring, and returns the time that this took.
func (d *dropRings) call(ring int) (time.Duration, error) {
	if err := d.set.Choose(uint32(ring)); err != nil {
		return 0, err
	}
	start := time.Now()
	err := d.set.Run(reservers.InnerRing)
	return time.Since(start), err
}

// during returns how many calls there were while work ran, and how many of them failed.
func (d *dropRings) during(work func() error) (calls, failed uint64, err error) {
	before, err := d.set.Result(reservers.InnerRing)
	if err != nil {
		return 0, 0, err
	}
	if err := work(); err != nil {
		return 0, 0, err
	}
	after, err := d.set.Result(reservers.InnerRing)
	return after.Calls - before.Calls, after.Failed - before.Failed, err
}

// fill leaves no room in the rings.
func (d *dropRings) fill() error {
	for i := range d.rings {
		for failed := uint64(0); failed < dropCalls; {
			var err error
			if _, failed, err = d.during(func() error { _, err := d.call(i); return err }); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close unloads the program and closes the rings.
func (d *dropRings) Close() (err error) {
	for _, r := range d.readers {
		err = errors.Join(err, r.Close())
	}
	for _, m := range d.rings {
		err = errors.Join(err, m.Close())
	}
	if d.set != nil {
		err = errors.Join(err, d.set.Close())
	}
	return err
}
