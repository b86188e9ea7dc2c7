package container

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Goroutines and programs allocate and free at once: no block is allocated twice.
func TestHeapStorm(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 16 << 20})
	p := loadSet(t, h, arenaset.HeapStorm)
	before := used(t, h)
	rounds := 20_000
	if testing.Short() {
		rounds = 2000
	}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			job, err := p.run(arenaset.HeapStorm, arenaset.Job{Count: uint64(rounds), Seed: uint64(i + 1)})
			if err != nil || job.Torn+job.Failed != 0 {
				t.Errorf("%+v, %v", job, err)
			}
		})
		wg.Go(func() {
			for range rounds {
				p, err := h.Alloc(8 + rand.Uint64N(4096))
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := h.a.Bytes(p, 8)
				mark := uint64(p) + uint64(i)
				binary.LittleEndian.PutUint64(b, mark)
				if binary.LittleEndian.Uint64(b) != mark {
					t.Error("another goroutine or program wrote to the block")
				}
				if err := h.Free(p); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if now := used(t, h); now != before {
		t.Errorf("%d bytes in use, %d at first", now, before)
	}
}

// If two goroutines free the same block at once, exactly one call succeeds.
func TestFreedByTwo(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{})
	for range 1000 {
		p, err := h.Alloc(100)
		if err != nil {
			t.Fatal(err)
		}
		var freed atomic.Int32
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				err := h.Free(p)
				if err == nil {
					freed.Add(1)
				} else if !errors.Is(err, ErrNotAllocated) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if freed.Load() != 1 {
			t.Fatalf("freed %d times", freed.Load())
		}
	}
}
