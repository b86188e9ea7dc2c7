package container

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
	"github.com/rbtool/rbtool/internal/testenv"
)

// numbered mirrors struct numbered of arenaset.bpf.c.
type numbered struct {
	Link
	Number uint64
}

func newList(tb testing.TB, h *Heap) *List {
	tb.Helper()
	l, err := NewList(h, "list")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// A process walks a list of a million nodes that a program built, and a program frees it.
func TestListOfAMillion(t *testing.T) {
	testenv.NoLeaks(t)
	n := uint64(1_000_000)
	if testing.Short() {
		n = 50_000
	}
	for _, opts := range []arena.Options{{Size: 256 << 20}, {Size: 256 << 20, NoUserConv: true}} {
		h := newHeap(t, opts)
		l := newList(t, h)
		before := used(t, h)
		p := loadSet(t, h, arenaset.ListBuild, arenaset.ListFree)
		p.must(arenaset.ListBuild, arenaset.Job{On: uint64(l.p), Count: n})
		want := n
		for at, err := range l.All() {
			if err != nil {
				t.Fatal(err)
			}
			node, err := arena.Ptr[numbered](at).In(h.a)
			if err != nil {
				t.Fatal(err)
			}
			if want--; node.Number != want {
				t.Fatalf("node %d follows %d", node.Number, want+1)
			}
		}
		if want != 0 {
			t.Errorf("the walk ended %d nodes early", want)
		}
		job := p.must(arenaset.ListFree, arenaset.Job{On: uint64(l.p), Count: n})
		if job.Sum != n*(n-1)/2 || job.Failed != 0 {
			t.Errorf("%+v", job)
		}
		if now := used(t, h); now != before {
			t.Errorf("%d bytes in use, %d at first", now, before)
		}
	}
}

// popAll pops and frees nodes until popped is n. It adds their numbers to sum.
func popAll(t *testing.T, h *Heap, l *List, n uint64, popped, sum *atomic.Uint64) {
	for popped.Load() < n {
		at, err := l.Pop()
		if errors.Is(err, ErrEmpty) {
			if t.Failed() {
				return
			}
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		node, err := arena.Ptr[numbered](at).In(h.a)
		if err != nil {
			t.Error(err)
			return
		}
		sum.Add(node.Number)
		popped.Add(1)
		if err := h.Free(arena.Ptr[byte](at)); err != nil {
			t.Error(err)
		}
	}
}

// Goroutines and a program push and pop at once: each pushed node is popped once.
func TestListStorm(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{})
	l := newList(t, h)
	before := used(t, h)
	p := loadSet(t, h, arenaset.ListBuild, arenaset.ListFree)
	n := uint64(100_000)
	if testing.Short() {
		n = 5000
	}
	var sum, popped atomic.Uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := p.run(arenaset.ListBuild, arenaset.Job{On: uint64(l.p), Count: n}); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for i := range n {
			at, node, err := New[numbered](h)
			if err != nil {
				t.Error(err)
				return
			}
			node.Number = i
			if err := l.Push(arena.Ptr[Link](at)); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		wg.Go(func() { popAll(t, h, l, 2*n, &popped, &sum) })
	}
	wg.Wait()
	if want := n * (n - 1); sum.Load() != want {
		t.Errorf("the sum of the popped numbers is %d, want %d", sum.Load(), want)
	}
	if now := used(t, h); now != before {
		t.Errorf("%d bytes in use, %d at first", now, before)
	}
}

// walkAll walks a list and returns the number of nodes before the end or the error.
func walkAll(l *List) (n int, err error) {
	for _, err := range l.All() {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// newNodes returns a list of three nodes. It also returns the nodes and their addresses, in the order in
// which they were pushed.
func newNodes(tb testing.TB, h *Heap) (l *List, nodes [3]*numbered, at [3]arena.Ptr[numbered]) {
	tb.Helper()
	l = newList(tb, h)
	for i := range nodes {
		var err error
		if at[i], nodes[i], err = New[numbered](h); err != nil {
			tb.Fatal(err)
		}
		if err := l.Push(arena.Ptr[Link](at[i])); err != nil {
			tb.Fatal(err)
		}
	}
	return l, nodes, at
}

func TestListWalkEnds(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	l, nodes, at := newNodes(t, h)
	if n, err := walkAll(l); n != 3 || err != nil {
		t.Errorf("%d nodes, %v", n, err)
	}
	tests := []struct {
		rule string
		next arena.Ptr[Link]
		want error
	}{
		{"in a circle", arena.Ptr[Link](at[2]), ErrCorrupt},
		{"at itself", arena.Ptr[Link](at[0]), ErrCorrupt},
		{"out of the arena", arena.Ptr[Link](h.a.Base() + h.a.Size()), ErrCorrupt},
		{"in another window", arena.Ptr[Link](uint64(at[2]) + arenamem.Window), ErrCorrupt},
		{"not aligned", arena.Ptr[Link](at[2]) + 1, ErrCorrupt},
		{"in the last word", arena.Ptr[Link](h.a.Base() + h.a.Size() - 4), ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			nodes[0].Next = tt.next
			if n, err := walkAll(l); !errors.Is(err, tt.want) || n < 3 {
				t.Errorf("%d nodes, %v; want %v", n, err, tt.want)
			}
		})
	}
}

func TestListWalkWhileANodeIsPopped(t *testing.T) {
	testenv.NoLeaks(t)
	l, _, _ := newNodes(t, newHeap(t, arena.Options{Size: 1 << 20}))
	popped := false
	var last error
	for _, err := range l.All() {
		if !popped {
			popped = true
			if _, err := l.Pop(); err != nil {
				t.Fatal(err)
			}
		}
		last = err
	}
	if !errors.Is(last, ErrContended) {
		t.Errorf("error %v", last)
	}
}

func TestEmptyList(t *testing.T) {
	testenv.NoLeaks(t)
	l, _, _ := newNodes(t, newHeap(t, arena.Options{Size: 1 << 20}))
	for range 3 {
		if _, err := l.Pop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Pop(); !errors.Is(err, ErrEmpty) {
		t.Errorf("pop: %v", err)
	}
	if n, err := walkAll(l); n != 0 || err != nil {
		t.Errorf("%d nodes, %v", n, err)
	}
}

func BenchmarkListWalk(b *testing.B) {
	h := newHeap(b, arena.Options{Size: 256 << 20})
	l := newList(b, h)
	const n = 1_000_000
	loadSet(b, h, arenaset.ListBuild).must(arenaset.ListBuild, arenaset.Job{On: uint64(l.p), Count: n})
	perNode := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/node")
	}
	b.Run("addresses", func(b *testing.B) {
		for b.Loop() {
			for _, err := range l.All() {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		perNode(b)
	})
	b.Run("contents", func(b *testing.B) {
		for b.Loop() {
			sum := uint64(0)
			for node, err := range Nodes[numbered](l) {
				if err != nil {
					b.Fatal(err)
				}
				sum += node.Number
			}
			if sum != n*(n-1)/2 {
				b.Fatalf("sum %d", sum)
			}
		}
		perNode(b)
	})
}

// Nodes refuses nodes that end outside the arena, and types smaller than a Link.
func TestNodesThatDoNotFit(t *testing.T) {
	const size = 256 << 10
	h := newHeap(t, arena.Options{Size: size})
	l := newList(t, h)
	p, _, err := New[numbered](h)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Push(arena.Ptr[Link](p)); err != nil {
		t.Fatal(err)
	}
	for n, err := range Nodes[numbered](l) {
		if at, _ := p.In(h.a); n != at || err != nil {
			t.Errorf("node %p, %v; want %p", n, err, at)
		}
	}
	for _, err := range Nodes[struct {
		Link
		_ [size - 4096]byte // begins after more than 4096 bytes, and so ends outside the arena
	}](l) {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("almost the arena: %v", err)
		}
	}
	for _, err := range Nodes[struct {
		Link
		_ [size]byte
	}](l) {
		if !errors.Is(err, arena.ErrPointer) {
			t.Errorf("more than the arena: %v", err)
		}
	}
	for _, err := range Nodes[uint32](l) {
		if !errors.Is(err, arena.ErrPointer) {
			t.Errorf("less than a link: %v", err)
		}
	}
}
