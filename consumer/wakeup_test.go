package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// patience is the time after which the test takes a record for lost.
const patience = time.Minute

// trips makes n round trips. In each trip another thread spins until read has returned, spins a
// little longer, for a time that differs from trip to trip, and calls produce for the next record
// or run of records. At that moment the consumer is about to sleep, so all orders of its steps and
// the producer's occur.
func trips(t *testing.T, n, run int, produce func() error, read func(ctx context.Context) (uint64, error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int64
	producing := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for trip := range int64(n) {
			for spins := 0; asked.Load() <= trip; spins++ {
				if ctx.Err() != nil {
					producing <- nil
					return
				}
				if spins > 1000 { // the consumer may need this CPU
					runtime.Gosched()
				}
			}
			for wait := trip * 7919 % 1000; wait > 0; wait-- {
				asked.Load()
			}
			if err := produce(); err != nil {
				producing <- err
				cancel()
				return
			}
		}
		producing <- nil
	}()
	watchdog := time.AfterFunc(patience, cancel)
	defer watchdog.Stop()
	start := time.Now()
	for next := uint64(0); next < uint64(n*run); next++ {
		if next%uint64(run) == 0 {
			asked.Add(1)
			watchdog.Reset(patience)
		}
		seq, err := read(ctx)
		if err != nil {
			cancel()
			t.Fatalf("record %d never came: %v", next, errors.Join(err, <-producing))
		}
		if seq != next {
			t.Fatalf("record %d, want %d", seq, next)
		}
	}
	if err := <-producing; err != nil {
		t.Error(err)
	}
	t.Logf("%d trips, %v each", n, (time.Since(start) / time.Duration(n)).Round(100*time.Nanosecond))
}

// readOne returns a function that reads one record from r, in another way at each call.
func readOne(t *testing.T, r *consumer.Reader) func(context.Context) (uint64, error) {
	turn := 0
	return func(ctx context.Context) (got uint64, err error) {
		turn++
		err = ways[turn%len(ways)].take(ctx, r, 1, func(rec consumer.Record) { got = seq(t, rec) })
		return got, err
	}
}

// Without the slow timer no wakeup is lost. With the timer no record is found by the timer alone.
func TestNoWakeupIsLost(t *testing.T) {
	single := func(op producer.Op) producer.Job { return producer.Job{Op: op, Size: 16} }
	tests := []struct {
		rule string
		job  producer.Job
		run  int // each run has this many records without wakeup, and then one that forces a wakeup; 0 for single records
		opts consumer.Options
		n    int
	}{
		{"output", single(producer.Output), 0, consumer.Options{}, 500_000},
		{"reserve and submit", single(producer.Reserve), 0, consumer.Options{}, 200_000},
		{"dynptr", single(producer.Dynptr), 0, consumer.Options{}, 300_000},
		{"runs of NO_WAKEUP closed by FORCE_WAKEUP", single(producer.Output), 5, consumer.Options{}, 150_000},
		{"coalescing", single(producer.Output), 0, consumer.Options{Coalesce: 5 * time.Microsecond}, 80_000},
		{"polling first, for less than a trip takes", single(producer.Output), 0, consumer.Options{BusyPoll: 3 * time.Microsecond}, 80_000},
		{"polling first, for longer", single(producer.Output), 0, consumer.Options{BusyPoll: 50 * time.Microsecond}, 50_000},
	}
	for _, tt := range tests {
		for _, timer := range []time.Duration{-1, 100 * time.Millisecond} {
			rule, n := tt.rule+" without a timer", long(tt.n, 200)
			if timer > 0 {
				rule, n = tt.rule+" beside the timer", long(tt.n/20, 50)
			}
			t.Run(rule, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := testenv.Ring(t, testenv.PageSize)
				p := load(t, m)
				opts := tt.opts
				opts.Timer = timer
				r := reader(t, m, opts)
				trips(t, n, max(tt.run, 1), produceRuns(t, p, tt.job, tt.run), readOne(t, r))
				if s := stats(t, r); s.Late != 0 {
					t.Errorf("%d records were found by the timer alone", s.Late)
				}
			})
		}
	}
}

// produceRuns returns a function that produces one record, or a run of records.
func produceRuns(t *testing.T, p *producer.Producer, job producer.Job, run int) func() error {
	t.Helper()
	if run == 0 {
		return pinger(t, p, job).Ping
	}
	job.Count = uint64(run)
	job.Wakeup, job.LastWakeup = producer.NoWakeup, producer.ForceWakeup
	return func() error {
		res, err := p.Run(context.Background(), job)
		if err == nil && res.Failed > 0 {
			err = producer.ErrFull
		}
		job.Seq = res.Next
		return err
	}
}

// A Group loses no wakeup, whether its rings get records in turn or only one ring does.
func TestGroupLosesNoWakeup(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		opts  consumer.Options
		rings int
		n     int
	}{
		{"one ring", consumer.Options{Timer: -1}, 1, 30_000},
		{"three rings", consumer.Options{Timer: -1}, 3, 80_000},
		{"three rings, coalescing", consumer.Options{Timer: -1, Coalesce: 5 * time.Microsecond}, 3, 20_000},
		{"three rings, polling first", consumer.Options{Timer: -1, BusyPoll: 5 * time.Microsecond}, 3, 20_000},
		{"three rings beside the timer", consumer.Options{}, 3, 5_000},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			var maps []*ebpf.Map
			var pings []func() error
			for range tt.rings {
				m := testenv.Ring(t, testenv.PageSize)
				maps = append(maps, m)
				pings = append(pings, pinger(t, load(t, m), producer.Job{Op: producer.Output, Size: 16}).Ping)
			}
			g := group(t, tt.opts, maps...)
			turn := 0
			produce := func() error {
				turn++
				return pings[turn%tt.rings]()
			}
			next := make([]uint64, tt.rings)
			read := 0
			trips(t, long(tt.n, 200), 1, produce, func(ctx context.Context) (uint64, error) {
				read++
				i, n, err := groupRead(t, ctx, g)
				if err == nil && (i != read%tt.rings || n != next[i]) {
					err = fmt.Errorf("record %d of ring %d, want %d of %d", n, i, next[read%tt.rings], read%tt.rings)
				}
				next[read%tt.rings]++
				return uint64(read - 1), err
			})
			for i := range g.Len() {
				if s, err := g.Stats(i); err != nil || s.Late != 0 {
					t.Errorf("ring %d: %d records were found by the timer alone, %v", i, s.Late, err)
				}
			}
		})
	}
}

// groupRead waits for one record and consumes it.
func groupRead(t *testing.T, ctx context.Context, g *consumer.Group) (i int, got uint64, err error) {
	for {
		if err := g.Wait(ctx); err != nil {
			return 0, 0, err
		}
		found := false
		for rec := range g.Pass(0) {
			i, got, found = rec.Ring, seq(t, rec), true
		}
		if found || g.Err() != nil {
			return i, got, g.Err()
		}
	}
}

// A record committed with BPF_RB_NO_WAKEUP wakes no Reader. The timer finds it, and Stats.Late counts
// it.
func TestTimerFindsWhatNobodyAnnounces(t *testing.T) {
	job := producer.Job{Op: producer.Output, Size: 16, Wakeup: producer.NoWakeup}
	n := uint64(long(20, 5))
	t.Run("Reader", func(t *testing.T) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, testenv.PageSize)
		pg, r := pinger(t, load(t, m), job), reader(t, m, consumer.Options{Timer: time.Millisecond})
		for i := range n {
			pinged := pingAsleep(t, pg)
			rec, err := r.Read(t.Context())
			<-pinged
			if err != nil || seq(t, rec) != i {
				t.Fatalf("record %d, %v", i, err)
			}
			if s := stats(t, r); s.Late != i+1 {
				t.Errorf("%d of %d records were late", s.Late, i+1)
			}
		}
	})
	t.Run("Group", func(t *testing.T) {
		testenv.NoLeaks(t)
		quiet, m := testenv.Ring(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize)
		pg, g := pinger(t, load(t, m), job), group(t, consumer.Options{Timer: time.Millisecond}, quiet, m)
		for i := range n {
			pinged := pingAsleep(t, pg)
			if ring, got, err := groupRead(t, t.Context(), g); err != nil || ring != 1 || got != i {
				t.Fatalf("record %d of ring %d, %v", got, ring, err)
			}
			<-pinged
			for ring, want := range []uint64{0, i + 1} {
				if s, err := g.Stats(ring); err != nil || s.Late != want {
					t.Errorf("ring %d: %d records were late, want %d, %v", ring, s.Late, want, err)
				}
			}
		}
	})
	t.Run("a discarded one that swallowed the wakeup of the next", func(t *testing.T) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, testenv.PageSize)
		p, r := load(t, m), reader(t, m, consumer.Options{Timer: time.Millisecond})
		discard := pinger(t, p, producer.Job{Op: producer.Reserve, Size: 16, DiscardEvery: 1, Wakeup: producer.NoWakeup})
		submit := pinger(t, p, producer.Job{Op: producer.Output, Size: 16})
		for i := range n {
			pinged := pingAsleep(t, discard, submit)
			rec, err := r.Read(t.Context())
			<-pinged
			if err != nil || seq(t, rec) != i {
				t.Fatalf("record %d, %v", i, err)
			}
		}
		if s := stats(t, r); s.Late == 0 || s.Discarded != n {
			t.Errorf("%d late, %d discarded", s.Late, s.Discarded)
		}
	})
}

// pingAsleep pings once the reader sleeps, and then closes the channel that it returns.
func pingAsleep(t *testing.T, pgs ...*producer.Pinger) <-chan struct{} {
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		asleep(t)
		for _, pg := range pgs {
			ping(t, pg)
		}
	}()
	return pinged
}
