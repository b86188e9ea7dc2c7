package container

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestRoots(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	p, err := h.Alloc(8)
	if err != nil {
		t.Fatal(err)
	}
	before := used(t, h)
	// Four goroutines add the same names at once.
	var added atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range arenamem.MaxRoots {
				r, err := h.AddRoot(fmt.Sprint("root ", i), KindUser+Kind(i), p)
				if err == nil {
					added.Add(1)
					if r.Ptr != p {
						t.Errorf("%+v", r)
					}
				} else if !errors.Is(err, ErrExists) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	roots, err := h.Roots()
	if err != nil || len(roots) != arenamem.MaxRoots || added.Load() != arenamem.MaxRoots {
		t.Fatalf("%d roots, %d added, %v", len(roots), added.Load(), err)
	}
	names := map[string]bool{}
	for i, r := range roots {
		if names[r.Name] || r.Number != uint32(i) {
			t.Errorf("%+v", r)
		}
		names[r.Name] = true
	}
	if used(t, h)-before != arenamem.MaxRoots*arenamem.ClassSize(arenamem.ClassOf(40+arenamem.HeaderSize)) {
		t.Error("names that were not added are still in memory")
	}
	for want, f := range map[error]func() error{
		ErrFull:          func() error { _, err := h.AddRoot("more", KindUser, p); return err },
		ErrTooLarge:      func() error { _, err := h.AddRoot("", KindUser, p); return err },
		arena.ErrPointer: func() error { _, err := h.AddRoot("x", KindUser, 8); return err },
		ErrNotFound:      func() error { _, err := h.Root("x", KindUser); return err },
		ErrFormat:        func() error { _, err := h.Root("root 3", KindList); return err },
	} {
		if err := f(); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	if r, err := h.Root("root 3", KindUser+3); err != nil || r.Ptr != p {
		t.Errorf("%+v, %v", r, err)
	}
}
