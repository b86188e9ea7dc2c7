package consumer_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// owners are other consumer libraries beside which an Observer works. next returns a record, in the
// memory of the owner, until stop is called.
var owners = []struct {
	name string
	open func(tb testing.TB, m *ebpf.Map) (next func() ([]byte, error), stop func())
}{
	{"cilium", func(tb testing.TB, m *ebpf.Map) (func() ([]byte, error), func()) {
		r, err := ringbuf.NewReader(m)
		if err != nil {
			tb.Fatal(err)
		}
		var rec ringbuf.Record
		return func() ([]byte, error) {
			err := r.ReadInto(&rec)
			return rec.RawSample, err
		}, func() { r.Close() }
	}},
	{"Reader", func(tb testing.TB, m *ebpf.Map) (func() ([]byte, error), func()) {
		r, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		return func() ([]byte, error) {
			rec, err := r.Read(tb.Context())
			return rec.Data, err
		}, func() { r.Close() }
	}},
}

// The owner of the ring gets each record once and in order, as without an Observer. The Observer
// hands out exactly the submitted records, and accounts for all bytes and records.
func TestObserverBesideAnOwner(t *testing.T) {
	tests := []struct {
		rule  string
		size  uint32
		job   producer.Job
		count uint64 // number of records; a hundredth of it with -short
	}{
		// With the other cases this adds up to ten million records.
		{"a small ring", testenv.PageSize, producer.Job{Op: producer.Output, Size: 8, MaxSize: 200}, 300_000},
		{"a ring that is often full", 64 << 10, producer.Job{Op: producer.Reserve, Size: 16, DiscardEvery: 5}, 2_200_000},
		{"long records", 1 << 20, producer.Job{Op: producer.Output, Size: 0, MaxSize: 60_000}, 20_000},
		{"a large ring", 4 << 20, producer.Job{Op: producer.Reserve, Size: 24, DiscardEvery: 100}, 2_500_000},
	}
	for _, tt := range tests {
		for _, owner := range owners {
			t.Run(tt.rule+" of "+owner.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				job := tt.job
				job.Count, job.RetryFull = tt.count, true
				if testing.Short() || testenv.Race {
					job.Count /= 100
				}
				m := testenv.Ring(t, tt.size)
				p, o := load(t, m), observer(t, m, consumer.ObserverOptions{})
				next, stop := owner.open(t, m)
				defer stop()
				var owning, observing sync.WaitGroup
				owning.Go(func() { own(t, job, next) })
				var done atomic.Bool
				observing.Go(func() { watch(t, o, job, &done) })
				run(t, p, job)
				owning.Wait()
				done.Store(true)
				observing.Wait()
				s := balanced(t, o)
				t.Logf("%d of %d records seen, %d bytes lost in %d losses", s.Records, job.Count, s.Lost, s.Losses)
			})
		}
	}
}

// own consumes all records of the job and checks that none is missing.
func own(t *testing.T, job producer.Job, next func() ([]byte, error)) {
	for n := range job.Count {
		if job.Discarded(n) {
			continue
		}
		data, err := next()
		if err == nil {
			err = producer.Verify(n, data)
		}
		if err != nil {
			t.Errorf("owner, record %d: %v", n, err)
			return
		}
	}
}

// watch observes until done reports that everything was produced, and then reads the rest. If
// records are missing between two that it sees, they must be discarded or lost records.
func watch(t *testing.T, o *consumer.Observer, job producer.Job, done *atomic.Bool) {
	want := uint64(0) // number of the record that is expected next
	end := uint64(0)
	gap := func(n, pos uint64) {
		bytes := uint64(0)
		for ; want < n; want++ {
			bytes += ring.Span(job.Len(want))
		}
		if bytes != pos-end {
			t.Errorf("%d bytes between positions %d and %d, where record %d begins; want %d", pos-end, end, pos, n, bytes)
		}
	}
	for last := false; !last; {
		last = done.Load()
		for rec := range o.Pass(0) {
			n := want
			if len(rec.Data) >= 8 {
				n = le64(rec.Data)
			}
			for len(rec.Data) < 8 && n < job.Count && (job.Discarded(n) || job.Len(n) != uint32(len(rec.Data)) || producer.Verify(n, rec.Data) != nil) {
				n++ // too short to contain its number
			}
			if err := producer.Verify(n, rec.Data); err != nil || n >= job.Count || job.Discarded(n) || uint32(len(rec.Data)) != job.Len(n) {
				t.Errorf("record %d of %d bytes: %v", n, len(rec.Data), err)
				return
			}
			if len(rec.Data) >= 8 {
				gap(n, rec.Pos)
				want, end = n+1, rec.Pos+ring.Span(job.Len(n))
			}
		}
		if err := o.Err(); err != nil {
			t.Error(err)
			return
		}
		balanced(t, o)
		if !last {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := o.Wait(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
	}
	s := balanced(t, o)
	if s.Pos != s.ProducerPos {
		t.Errorf("observed up to %d of %d", s.Pos, s.ProducerPos)
	}
	gap(job.Count, s.Pos)
}

func TestObserverOfARingInOverwriteMode(t *testing.T) {
	testenv.NoLeaks(t)
	m := overwriting(t, testenv.PageSize)
	p, o := load(t, m), observer(t, m, consumer.ObserverOptions{})
	job := producer.Job{Op: producer.Output, Size: 8, MaxSize: 200, Count: uint64(long(300_000, 3000)), RetryFull: true}
	var done atomic.Bool
	var observing sync.WaitGroup
	observing.Go(func() { watch(t, o, job, &done) })
	run(t, p, job)
	done.Store(true)
	observing.Wait()
	s := balanced(t, o)
	t.Logf("%d of %d records seen, %d losses", s.Records, job.Count, s.Losses)
}
