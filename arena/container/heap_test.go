package container

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestClasses(t *testing.T) {
	for c := range uint32(arenamem.Classes) {
		size := arenamem.ClassSize(c)
		if got := arenamem.ClassOf(size); got != c {
			t.Errorf("class of %d bytes is %d, want %d", size, got, c)
		}
		if got := arenamem.ClassOf(size + 1); got != c+1 {
			t.Errorf("class of %d bytes is %d, want %d", size+1, got, c+1)
		}
		if size%8 != 0 || c > 1 && arenamem.ClassSize(c) != 2*arenamem.ClassSize(c-2) {
			t.Errorf("class %d has blocks of %d bytes", c, size)
		}
	}
	if arenamem.ClassOf(1) != 0 || arenamem.ClassOf(arenamem.MaxAlloc+arenamem.HeaderSize) != arenamem.Classes-1 {
		t.Errorf("the smallest and largest are in class %d and %d", arenamem.ClassOf(1), arenamem.ClassOf(arenamem.MaxAlloc+arenamem.HeaderSize))
	}
}

func TestHeap(t *testing.T) {
	testenv.NoLeaks(t)
	for _, opts := range []arena.Options{{}, {SegvOnFault: true}, {NoUserConv: true}} {
		h := newHeap(t, opts)
		before := used(t, h)
		var blocks []arena.Ptr[byte]
		for n := uint64(1); n < 1<<18; n = n*3/2 + 1 {
			p, err := h.Alloc(n)
			if err != nil {
				t.Fatal(err)
			}
			b, err := h.a.Bytes(p, n)
			if err != nil || uint64(p)%8 != 0 {
				t.Fatalf("%d bytes at %#x: %v", n, p, err)
			}
			for i := range b {
				b[i] = byte(len(blocks))
			}
			blocks = append(blocks, p)
		}
		for i, p := range blocks {
			b, _ := h.a.Bytes(p, 1)
			if b[0] != byte(i) {
				t.Errorf("block %d was overwritten", i)
			}
			if err := h.Free(p); err != nil {
				t.Error(err)
			}
		}
		if now := used(t, h); now != before {
			t.Errorf("%d bytes in use, %d at first", now, before)
		}
		p, err := h.Alloc(100)
		if err != nil || !contains(blocks, p) {
			t.Errorf("%#x is no block that was freed: %v", p, err)
		}
	}
}

func contains(blocks []arena.Ptr[byte], p arena.Ptr[byte]) bool {
	for _, b := range blocks {
		if b == p {
			return true
		}
	}
	return false
}

func TestFreeRefused(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{})
	p, err := h.Alloc(64)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rule string
		p    arena.Ptr[byte]
		want error
	}{
		{"nil", 0, arenamem.ErrNil},
		{"outside", arena.Ptr[byte](h.a.Base() + h.a.Size()), arena.ErrPointer},
		{"inside a block", p + 8, ErrNotAllocated},
		{"not aligned", p + 1, ErrNotAllocated},
		{"page 0", arena.Ptr[byte](h.a.Base() + 64), ErrNotAllocated},
		{"never allocated", arena.Ptr[byte](h.a.Base() + h.a.Size()/2), ErrNotAllocated},
		{"a block", p, nil},
		{"a block again", p, ErrNotAllocated},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if err := h.Free(tt.p); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestHeapLimits(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 4 * arenamem.PageSize})
	if _, err := h.Alloc(arenamem.MaxAlloc + 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than the largest: %v", err)
	}
	if _, err := h.Alloc(3 * arenamem.PageSize); !errors.Is(err, ErrFull) {
		t.Errorf("more than the heap: %v", err)
	}
	n := 0
	for {
		_, err := h.Alloc(1000)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != int(h.a.Size()-arenamem.HeadSize)/1024 {
		t.Errorf("%d blocks", n)
	}
	if _, err := Format(arenatest.New(t, arena.Options{Size: arenamem.HeadSize})); !errors.Is(err, ErrFull) {
		t.Errorf("a heap without pages: %v", err)
	}
}

// If the header of a free block is overwritten, only the blocks of its free list are lost.
func TestBrokenFreeListIsGivenUp(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{})
	p := loadSet(t, h, arenaset.HeapStorm)
	for _, by := range []string{"a process", "a program"} {
		a, err := h.Alloc(2000)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Free(a); err != nil {
			t.Fatal(err)
		}
		word, err := (arena.Ptr[uint64](a) - arenamem.HeaderSize).In(h.a)
		if err != nil {
			t.Fatal(err)
		}
		*word = ^uint64(0)
		if by == "a process" {
			b, err := h.Alloc(2000)
			if err != nil || a == b {
				t.Errorf("allocated %#x, %v", b, err)
			}
		} else if job := p.must(arenaset.HeapStorm, arenaset.Job{Count: 1000, Seed: 9}); job.Torn+job.Failed != 0 {
			t.Errorf("%+v", job)
		}
		st, err := h.h.Stats()
		if err != nil || st.Corrupt != 1 {
			t.Errorf("met by %s: %d broken lists, %v", by, st.Corrupt, err)
		}
		h.h.Super.Corrupt = 0
	}
}

// A program allocates pages itself, even if a process was killed after it allocated the next pages and
// before it raised Present.
func TestProgramsGrowTheHeap(t *testing.T) {
	testenv.NoLeaks(t)
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("a grower was killed %t", killed), func(t *testing.T) {
			h := newHeap(t, arena.Options{NoUserConv: true})
			p := loadSet(t, h, arenaset.HeapStorm)
			if killed {
				// Do what Grow does, except for raising Present.
				present := h.h.Super.Present
				h.h.Super.Touched = present + 8*arenamem.PageSize
				if err := h.h.Mem.Touch(present/arenamem.PageSize, present/arenamem.PageSize+3); err != nil {
					t.Fatal(err)
				}
			}
			job := p.must(arenaset.HeapStorm, arenaset.Job{Count: 5000, Seed: 3})
			if job.Full+job.Failed+job.Torn != 0 {
				t.Errorf("%+v", job)
			}
			if used(t, h) != 0 {
				t.Error("blocks are left")
			}
			// A process can allocate afterwards too.
			if _, err := h.Alloc(100 << 10); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHeapAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	l, err := NewList(h, "l")
	if err != nil {
		t.Fatal(err)
	}
	q, err := NewQueue(h, "q", 2)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := NewTable(h, "t", TableOptions{KeySize: 1, ValueSize: 1, Capacity: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Alloc(8)
	if err != nil {
		t.Fatal(err)
	}
	h.a.Close()
	b := []byte{1}
	for what, f := range map[string]func() error{
		"Alloc":  func() error { _, err := h.Alloc(1); return err },
		"Free":   func() error { return h.Free(p) },
		"Grow":   func() error { return h.Grow(1 << 19) },
		"Stats":  func() error { _, err := h.h.Stats(); return err },
		"Roots":  func() error { _, err := h.Roots(); return err },
		"Heap":   func() error { _, err := OpenHeap(h.a); return err },
		"Format": func() error { _, err := Format(h.a); return err },
		"Push":   func() error { return l.Push(arena.Ptr[Link](p)) },
		"Pop":    func() error { _, err := l.Pop(); return err },
		"Put":    func() error { return q.Put(p) },
		"Take":   func() error { _, err := q.Take(); return err },
		"Lookup": func() error { return tab.Lookup(b, b) },
		"Update": func() error { return tab.Put(b, b, ebpf.UpdateAny) },
		"Delete": func() error { return tab.Delete(b) },
		"Len":    func() error { _, err := tab.Len(); return err },
	} {
		if err := f(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range l.All() {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("walk a list: %v", err)
		}
	}
	for _, err := range tab.All() {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("walk a table: %v", err)
		}
	}
}
