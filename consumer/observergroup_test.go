package consumer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A ring with more records than its share does not keep the group from the others, and all are seen.
func TestObserverGroupIsFair(t *testing.T) {
	testenv.NoLeaks(t)
	const share, n = 5, 4
	list := rings(t, n)
	g := consumer.NewObserverGroup(consumer.ObserverOptions{})
	defer g.Close()
	for i, m := range list {
		add(t, g, m, i)
		run(t, load(t, m), producer.Job{Op: producer.Output, Size: 16, Count: 30 * uint64(1+i%2)})
	}
	got, first := make([]uint64, n), map[int]bool{}
	for pass := 0; pass < 60/share; pass++ {
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		counts := make([]uint64, n)
		for rec := range g.Pass(share) {
			if counts[rec.Ring]++; len(counts) == n && counts[0]+counts[1]+counts[2]+counts[3] == 1 {
				first[rec.Ring] = true
			}
			if s := seq(t, rec); s != got[rec.Ring] {
				t.Fatalf("record %d of ring %d, want %d", s, rec.Ring, got[rec.Ring])
			}
			got[rec.Ring]++
		}
		for i, c := range counts {
			if left := 30*uint64(1+i%2) - (got[i] - c); c != min(share, left) {
				t.Errorf("pass %d has %d records of ring %d, which had %d", pass, c, i, left)
			}
		}
	}
	for i := range list {
		s, err := g.Stats(i)
		if err != nil || s.Records != got[i] || s.Records != 30*uint64(1+i%2) || s.Lost != 0 {
			t.Errorf("ring %d: %+v, %v", i, s, err)
		}
	}
	if len(first) < 2 {
		t.Error("the first turn does not change")
	}
}

// A corrupt ring ends one pass. The others go on.
func TestObserverGroupLeavesOutCorruptRings(t *testing.T) {
	testenv.NoLeaks(t)
	list := rings(t, 2)
	g := consumer.NewObserverGroup(consumer.ObserverOptions{})
	defer g.Close()
	n, span := 160*scale, uint64(24)
	for i, m := range list {
		add(t, g, m, i)
		p := load(t, m)
		run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: n})
		setConsumerPos(t, m, n*span)
		run(t, p, producer.Job{Op: producer.Output, Size: 16, Seq: n, Count: n})
	}
	setConsumerPos(t, list[0], n*span+1) // where no record can begin, and those before it are gone
	failed, records := 0, 0
	for range 3 {
		for rec := range g.Pass(0) {
			if rec.Ring == 1 {
				records++
			}
		}
		if err := g.Err(); err != nil {
			of, ok := errors.AsType[*consumer.RingError](err)
			if !ok || of.Ring != 0 || !errors.Is(err, consumer.ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			failed++
		}
	}
	if failed != 1 || records == 0 {
		t.Errorf("%d errors, %d records of the other ring", failed, records)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
}
