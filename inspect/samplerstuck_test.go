package inspect

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// eager reports a stuck ring after two samples, at any interval.
var eager = SamplerOptions{Options: Options{SkipPrograms: true, SkipPins: true}, StuckAfter: 1, RelateEvery: 1}

func TestAStoppedConsumerIsStuck(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, 1<<15) // the only ring of this size, since /proc shows only the size
		p := load(t, m)
		defer p.Close()
		reader := start(t, "read", m)
		defer reader.end()
		s := newSampler(eager)
		defer s.Close()
		expect := func(when string, want State) {
			t.Helper()
			if got := ringIn(t, s, m); got.Flow.State != want || (want != Flowing && want != Idle) != (got.Flow.StuckFor > 0) {
				t.Errorf("%s: %s since %v, want %s", when, got.Flow.State, got.Flow.StuckFor, want)
			}
		}
		settle := func() {
			for ringIn(t, s, m).Flow.State != Idle {
			}
		}

		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
		settle() // until the reader has consumed the records
		stop(t, reader)
		for range 3 {
			expect("stopped, nothing waits", Idle)
		}
		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
		expect("first sample with data", Flowing)
		expect("second sample with data", ConsumerStuck)
		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
		expect("more data", ConsumerStuck)
		unix.Kill(reader.pid, unix.SIGCONT)
		settle() // until the reader has consumed the new records too
		expect("going on", Idle)
	})
}

// stop stops the process, and returns when it has stopped.
func stop(t *testing.T, a actor) {
	t.Helper()
	if err := unix.Kill(a.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(a.pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("%v, %#x", err, status)
	}
	t.Cleanup(func() { unix.Kill(a.pid, unix.SIGCONT) })
}

func TestARecordThatStaysBusyIsItsProducers(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, testenv.PageSize)
		p := load(t, m)
		defer p.Close()
		reader := start(t, "read", m)
		defer reader.end()
		s := newSampler(eager)
		defer s.Close()
		held, err := p.Hold(1, 100)
		testenv.SkipIfNotSupported(t, "bpf-syscall-program", err)
		if err != nil {
			t.Fatal(err)
		}
		if got := ringIn(t, s, m); got.Flow.State != Flowing || got.Positions.Busy == nil {
			t.Errorf("first sample: %s, busy %+v", got.Flow.State, got.Positions.Busy)
		}
		if got := ringIn(t, s, m); got.Flow.State != ProducerStuck || got.Flow.StuckFor == 0 {
			t.Errorf("second sample: %s", got.Flow.State)
		}
		if err := held.Commit(); err != nil {
			t.Fatal(err)
		}
		for {
			got := ringIn(t, s, m)
			if got.Flow.State == ProducerStuck {
				t.Fatal("stuck after the commit")
			}
			if got.Flow.State == Idle {
				break
			}
		}
	})
}

func TestARingThatNobodyConsumes(t *testing.T) {
	needIterators(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
	s := NewSampler(SamplerOptions{StuckAfter: 1, RelateEvery: time.Hour})
	defer s.Close()
	if got := ringIn(t, s, m); got.Flow.State != Flowing {
		t.Error(got.Flow.State)
	}
	if got := ringIn(t, s, m); got.Flow.State != Unconsumed || got.Flow.StuckFor == 0 {
		t.Error(got.Flow.State, got.Flow.StuckFor)
	}
	// The Sampler finds a new consumer when the ring becomes stuck again.
	start(t, "consume", m)
	page0, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page0)
	page0[0] = 112
	if got := ringIn(t, s, m); got.Flow.State != Flowing {
		t.Error(got.Flow.State)
	}
	if got := ringIn(t, s, m); got.Flow.State != ConsumerStuck {
		t.Error(got.Flow.State)
	}
}
