package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
)

// observed is the benchmark of a ring that its owner reads at half of the highest rate while
// another process, the company, either observes the ring or uses as much CPU time as an observer
// does.
type observed struct {
	stream  *stream
	owner   *harness.Peer
	way     string
	company *harness.Peer
	chunk   uint64 // records produced at each beat
	burned  uint64 // ns of CPU time that the last observer used
	took    time.Duration
}

const (
	// beat is the interval at which the producer produces a chunk of records.
	beat = time.Millisecond
	// span is the size of a record in the ring, in bytes.
	span = streamRecord + 8
)

// newObserved returns the benchmark for a ring whose owner is the given peer and reads in the given
// way.
func newObserved(r *rig, owner *harness.Peer, way string) (_ *harness.Benchmark, err error) {
	m, id, err := newRing(streamRing)
	if err != nil {
		return nil, err
	}
	p, err := producer.Load(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	closeAll := func() error { return errors.Join(p.Close(), m.Close()) }
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	s := &stream{id: id, p: p, job: producer.Job{
		Count: r.size.records / 2, Size: streamRecord, Fast: true, RetryFull: true, LastWakeup: producer.ForceWakeup,
	}}
	o := &observed{stream: s, owner: owner, way: way}
	flood, err := s.round(r.ctx, owner, way, 0)
	if err != nil {
		return nil, err
	}
	o.chunk = max(uint64(flood[0]*1e6*beat.Seconds()/2), 1)
	if o.company, err = r.goPeer(r.cpus); err != nil {
		return nil, err
	}
	closeAll = func() error { return errors.Join(o.company.Close(), p.Close(), m.Close()) }
	if _, err := o.beside(r.ctx, o.observe); err != nil { // sets o.burned and o.took
		return nil, err
	}
	with := func(company func(context.Context) (func() error, error)) func(context.Context) ([]float64, error) {
		return func(ctx context.Context) ([]float64, error) { return o.beside(ctx, company) }
	}
	const burner, watcher = "beside a burner", "beside an Observer"
	return &harness.Benchmark{
		Title: fmt.Sprintf("records of %d bytes read by their owner at half of its highest rate, %.2f Mrec/s; an Observer uses %.1f%% of a CPU",
			streamRecord, float64(o.chunk)/beat.Seconds()/1e6, 100*float64(o.burned)/float64(o.took)),
		Metrics: []harness.Metric{{Name: "rate", Unit: "Mrec/s", MoreIsBetter: true}},
		Contenders: []harness.Contender{
			{Name: burner, Run: with(o.burn)},
			{Name: burner + " again", Run: with(o.burn)},
			{Name: watcher, Run: with(o.observe)},
			{Name: "alone", Run: with(nobody)},
		},
		Claims: []harness.Claim{{Contender: watcher, Metric: "rate", Base: burner, Limit: 1, Noise: true}},
		Close:  closeAll,
	}, nil
}

// beside starts the company, makes the owner read the load at the same time, and returns the rate
// between the first and the last record.
func (o *observed) beside(ctx context.Context, company func(context.Context) (func() error, error)) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leave, err := company(ctx)
	if err != nil {
		return nil, err
	}
	s := o.stream
	if err := o.owner.Begin("stream", s.id, o.way, s.job.Count, 0); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := o.pace(ctx); err != nil {
		return nil, err
	}
	got, err := o.owner.Answer()
	if err != nil {
		return nil, err
	}
	o.took = time.Since(began)
	rate, err := s.rate(got)
	return rate, errors.Join(err, leave())
}

// pace produces the load, one chunk a beat.
func (o *observed) pace(ctx context.Context) error {
	job := o.stream.job
	start := time.Now()
	for n := uint64(0); job.Seq < o.stream.job.Count; n++ {
		job.Count = min(o.chunk, o.stream.job.Count-job.Seq)
		if job.LastWakeup = producer.Adaptive; job.Seq+job.Count == o.stream.job.Count {
			job.LastWakeup = producer.ForceWakeup
		}
		if _, err := o.stream.p.Run(ctx, job); err != nil {
			return err
		}
		job.Seq += job.Count
		if left := time.Duration(n+1)*beat - time.Since(start); left > 0 {
			t := unix.NsecToTimespec(left.Nanoseconds())
			if err := unix.Nanosleep(&t, nil); err != nil && err != unix.EINTR {
				return fmt.Errorf("sleep: %w", err)
			}
		}
	}
	return nil
}

func nobody(context.Context) (func() error, error) { return func() error { return nil }, nil }

// observe makes the company observe the ring until the last record of the load.
func (o *observed) observe(context.Context) (func() error, error) {
	if err := o.company.Begin("observe", o.stream.id, o.stream.job.Count*span); err != nil {
		return nil, err
	}
	return func() error {
		got, err := o.company.Answer()
		if err != nil {
			return err
		}
		if len(got) != 3 || got[1] == 0 || got[1]*span+got[2] != o.stream.job.Count*span {
			return fmt.Errorf("observed %v (ns, records, bytes lost), want records and losses of %d records", got, o.stream.job.Count)
		}
		o.burned = got[0]
		return nil
	}, nil
}

// burn makes the company use as much CPU time as the last observer, spread over the same wall time.
func (o *observed) burn(context.Context) (func() error, error) {
	if err := o.company.Begin("burn", o.burned, o.took.Nanoseconds()); err != nil {
		return nil, err
	}
	return func() error {
		_, err := o.company.Answer()
		return err
	}, nil
}

// peerObserve serves the request "observe MAP BYTES" in the Go peer.
func peerObserve(req *harness.Request) ([]uint64, error) {
	m, err := openRing(req)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return observeRing(req, m, req.Number(1))
}

func observeRing(req *harness.Request, m *ebpf.Map, bytes uint64) ([]uint64, error) {
	o, err := consumer.NewObserver(m, consumer.ObserverOptions{Now: true})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before := clockTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	req.Ready()
	for {
		s, err := o.Stats()
		if err != nil {
			return nil, err
		}
		if s.Pos-s.Start >= bytes {
			return []uint64{uint64(clockTime(unix.CLOCK_PROCESS_CPUTIME_ID) - before), s.Records, s.Lost}, nil
		}
		if err := o.Wait(ctx); err != nil {
			return nil, err
		}
		for range o.Pass(0) {
		}
		if err := o.Err(); err != nil {
			return nil, err
		}
	}
}

// peerBurn serves the request "burn CPU_NS WALL_NS" in the Go peer: it uses CPU time without
// touching the ring, a part of it at each interval, as an observer does.
func peerBurn(req *harness.Request) ([]uint64, error) {
	cpu, wall := time.Duration(req.Number(0)), time.Duration(req.Number(1))
	if err := req.Err(); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const interval = 10 * time.Millisecond // the default interval of an Observer
	looks := max(wall/interval, 1)
	req.Ready()
	for range looks {
		time.Sleep(wall / looks)
		for start := clockTime(unix.CLOCK_THREAD_CPUTIME_ID); clockTime(unix.CLOCK_THREAD_CPUTIME_ID)-start < cpu/looks; {
		}
	}
	return nil, nil
}

// clockTime reads a CPU clock, CLOCK_THREAD_CPUTIME_ID or CLOCK_PROCESS_CPUTIME_ID.
func clockTime(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		fmt.Fprintln(os.Stderr, "bench peer:", err)
		os.Exit(1) // cannot happen: the clock exists on every Linux
	}
	return time.Duration(t.Nano())
}
