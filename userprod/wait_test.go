package userprod

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/testenv"
)

// waits are the calls that wait for room for a sample of 8 bytes.
var waits = []struct {
	name string
	wait func(ctx context.Context, p *Producer) error
}{
	{"Reserve", func(ctx context.Context, p *Producer) error {
		s, err := p.Reserve(ctx, 8)
		if err != nil {
			return err
		}
		return s.Commit()
	}},
	{"Write", func(ctx context.Context, p *Producer) error { return p.Write(ctx, make([]byte, 8)) }},
	{"WriteAll", func(ctx context.Context, p *Producer) error { _, err := WriteAll(ctx, p, []uint64{1}); return err }},
	{"Samples", func(ctx context.Context, p *Producer) error {
		b := begin(p)
		defer b.End()
		for range b.Samples(ctx, 8, 1) {
			return nil
		}
		return b.Err()
	}},
	{"Next", func(ctx context.Context, p *Producer) error {
		b := begin(p)
		defer b.End()
		if _, err := b.Next(ctx, 8); err != nil {
			return err
		}
		return b.End()
	}},
}

// fillUp fills the ring with samples of 1016 bytes.
func fillUp(tb testing.TB, p *Producer) {
	tb.Helper()
	for {
		err := p.TryWrite(make([]byte, 1016))
		if err == ErrFull {
			return
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func TestWaitsForRoomAreWokenByADrain(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := userRing(t, testenv.PageSize)
			p, c := producer(t, m, Options{Timer: -1}), checker(t, m, 1, 64)
			for range long(100, 10) {
				fillUp(t, p)
				done := make(chan error, 1)
				go func() { done <- w.wait(t.Context(), p) }()
				testenv.Asleep(t, "userprod.(*Producer).sleep")
				if n, err := c.Drain(0, 1); n != 1 || err != nil { // room for one sample
					t.Fatalf("drained %d samples, %v", n, err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				drain(t, c)
			}
		})
	}
}

func TestWaitsForRoomFindASilentDrainByTheirTimer(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := userRing(t, testenv.PageSize)
			filler := producer(t, m, Options{})
			fillUp(t, filler)
			filler.Close()
			// The ring is full before the poller of the Producer is registered, so the poller gets
			// no initial event.
			p, c := producer(t, m, Options{Timer: time.Millisecond}), checker(t, m, 1, 64)
			done := make(chan error, 1)
			go func() { done <- w.wait(t.Context(), p) }()
			testenv.Asleep(t, "userprod.(*Producer).sleep")
			const noWakeup = 1 // BPF_RB_NO_WAKEUP
			if _, err := c.Drain(noWakeup, 0); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if s := stats(t, p); s.Waits != 1 || s.Late != 1 {
				t.Errorf("Stats() = %+v", s)
			}
		})
	}
}

func TestWaitsForRoomEndWithTheirContext(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			p := producer(t, userRing(t, testenv.PageSize), Options{})
			fillUp(t, p)
			for _, asleep := range []bool{false, true} {
				ctx, cancel := context.WithCancel(t.Context())
				if !asleep {
					cancel()
				}
				done := make(chan error, 1)
				go func() { done <- w.wait(ctx, p) }()
				if asleep {
					testenv.Asleep(t, "userprod.(*Producer).sleep")
					cancel()
				}
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("asleep %t: %v", asleep, err)
				}
				cancel()
			}
			// Other calls still work.
			if err := p.TryWrite(nil); err != ErrFull {
				t.Errorf("TryWrite after it: %v", err)
			}
		})
	}
}

func TestWaitsForRoomEndWithClose(t *testing.T) {
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			p := producer(t, userRing(t, testenv.PageSize), Options{Timer: -1})
			fillUp(t, p)
			var all sync.WaitGroup
			for range 3 { // one goroutine sleeps in the poller; the others wait for their turn
				all.Go(func() {
					if err := w.wait(t.Context(), p); !errors.Is(err, os.ErrClosed) {
						t.Errorf("error %v", err)
					}
				})
			}
			testenv.Asleep(t, "userprod.(*Producer).sleep")
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			all.Wait()
			if err := w.wait(t.Context(), p); !errors.Is(err, os.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// A small sample does not overtake a large sample that waits for room.
func TestNobodyOvertakesWhoWaits(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{Timer: -1}), checker(t, m, 1, 64)
	fillUp(t, p)
	order := make(chan int, 2)
	wait := func(n int) {
		s, err := p.Reserve(t.Context(), n)
		if err != nil {
			t.Error(err)
			return
		}
		if err := s.Commit(); err != nil {
			t.Error(err)
		}
		order <- n // after Commit, because a drain that finds no sample wakes no producer
	}
	var all sync.WaitGroup
	all.Go(func() { wait(largest) })
	testenv.Asleep(t, "userprod.(*Producer).sleep")
	if n, err := c.Drain(0, 1); n != 1 || err != nil { // frees room for the small sample
		t.Fatalf("drained %d samples, %v", n, err)
	}
	all.Go(func() { wait(8) })
	for p.queue.Load() != 2 { // until the second call waits
		drainNothing(t, p)
	}
	drain(t, c)
	if n := <-order; n != largest {
		t.Errorf("the sample of %d bytes came first", n)
	}
	drain(t, c)
	<-order
	all.Wait()
}

// drainNothing calls Stats, which must work while other calls wait.
func drainNothing(t *testing.T, p *Producer) {
	t.Helper()
	if _, err := p.Stats(); err != nil {
		t.Fatal(err)
	}
}

func TestSamplesOfAFullRingComeInOrder(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	const samples = 2000
	p, c := producer(t, m, Options{}), checker(t, m, 1, samples)
	var all sync.WaitGroup
	all.Go(func() {
		b := make([]byte, 100)
		for seq := range uint32(samples) {
			usercheck.Fill(b, 0, seq)
			if err := p.Write(t.Context(), b); err != nil {
				t.Errorf("Write: %v", err)
				return
			}
		}
	})
	for got := 0; got < samples; {
		got += drain(t, c)
	}
	all.Wait()
	if n := counts(t, c); n.Samples != samples {
		t.Errorf("%d samples came", n.Samples)
	}
}
