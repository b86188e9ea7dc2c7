package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/bpf/drain"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/userprod"
)

// newRoundtrip returns the benchmark of sending a message through the kernel to a sleeping
// goroutine: through a user ring, a drain, a ring and a reader, compared with a pipe.
func newRoundtrip(r *rig) (*harness.Benchmark, error) {
	way := func(name string) func(context.Context) ([]float64, error) {
		return func(context.Context) ([]float64, error) {
			got, err := r.g.Call("roundtrip", name, r.size.wakes)
			if err != nil {
				return nil, err
			}
			return []float64{float64(got[0]) / 1e3, float64(got[1]) / 1e3}, nil
		}
	}
	const pipe, ours = "pipe", "ours"
	return &harness.Benchmark{
		Title:   "64 bytes to a sleeping goroutine on the same CPU, through user ring, drain and ring",
		Metrics: []harness.Metric{{Name: "p50", Unit: "µs"}, {Name: "p99", Unit: "µs"}},
		Contenders: []harness.Contender{
			{Name: pipe, Run: way(pipe)},
			{Name: pipe + " again", Run: way(pipe)},
			{Name: ours, Run: way(ours)},
		},
	}, nil
}

// loop is a path through the kernel from a sender to a receiver, both in this process.
type loop struct {
	send    func(b []byte) error
	receive func(b []byte) error // blocks
	close   func() error
}

func pipeLoop() (*loop, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &loop{
		send:    func(b []byte) error { _, err := w.Write(b); return err },
		receive: func(b []byte) error { _, err := r.Read(b); return err },
		close:   func() error { return errors.Join(r.Close(), w.Close()) },
	}, nil
}

func ringLoop() (_ *loop, err error) {
	var closers []func() error
	closeAll := func() error {
		var err error
		for _, c := range slices.Backward(closers) {
			err = errors.Join(err, c())
		}
		return err
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	user, _, err := newRingOf(ebpf.UserRingbuf, 4096)
	if err != nil {
		return nil, err
	}
	closers = append(closers, user.Close)
	ring, _, err := newRing(4096)
	if err != nil {
		return nil, err
	}
	closers = append(closers, ring.Close)
	d, err := drain.Load(user, drain.Options{To: ring})
	if err != nil {
		return nil, err
	}
	closers = append(closers, d.Close)
	p, err := userprod.New(user, userprod.Options{})
	if err != nil {
		return nil, err
	}
	closers = append(closers, p.Close)
	rd, err := consumer.NewReader(ring, consumer.Options{})
	if err != nil {
		return nil, err
	}
	closers = append(closers, rd.Close)
	return &loop{
		send: func(b []byte) error {
			if err := p.TryWrite(b); err != nil {
				return err
			}
			_, err := d.Run(drain.RunOptions{})
			return err
		},
		receive: func(b []byte) error {
			if err := rd.Wait(context.Background()); err != nil {
				return err
			}
			for rec := range rd.Pass(0) {
				copy(b, rec.Data)
			}
			return rd.Err()
		},
		close: closeAll,
	}, nil
}

// peerRoundtrip serves the request "roundtrip WAY TIMES" in the Go peer.
func peerRoundtrip(req *harness.Request) ([]uint64, error) {
	open := ringLoop
	if req.Word(0) == "pipe" {
		open = pipeLoop
	}
	l, err := open()
	if err != nil {
		return nil, err
	}
	got := make(chan error)
	var took []time.Duration
	// start is atomic for the race detector: the data go through the kernel, so the detector does
	// not see that the store of start precedes its load.
	begin, start := time.Now(), atomic.Int64{}
	times := req.Number(1)
	go func() {
		b := make([]byte, 64)
		for seq := range times {
			err := l.receive(b)
			took = append(took, time.Since(begin)-time.Duration(start.Load()))
			if n := binary.LittleEndian.Uint64(b); err == nil && n != seq {
				err = fmt.Errorf("received %d, want %d", n, seq)
			}
			got <- err
		}
	}()
	b := make([]byte, 64)
	for seq := range times {
		binary.LittleEndian.PutUint64(b, seq)
		// This sleep gives the receiver time to call receive and block there.
		time.Sleep(50 * time.Microsecond)
		start.Store(int64(time.Since(begin)))
		err := l.send(b)
		if err == nil {
			err = <-got
		}
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	slices.Sort(took)
	return []uint64{uint64(took[len(took)/2]), uint64(took[len(took)*99/100])}, errors.Join(req.Err(), l.close())
}
