package container

import (
	"bufio"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

func newQueue(tb testing.TB, h *Heap, n int) *Queue {
	tb.Helper()
	q, err := NewQueue(h, "queue", n)
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

func TestQueueKeepsOrder(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	q := newQueue(t, h, 4)
	first, err := h.Alloc(1000)
	if err != nil {
		t.Fatal(err)
	}
	element := func(i int) arena.Ptr[byte] { return first + arena.Ptr[byte](i%1000) }
	in, out := 0, 0
	for round := range 1000 {
		for range round%4 + 1 {
			err := q.Put(element(in))
			if full := in-out == 4; full != errors.Is(err, ErrFull) || !full && err != nil {
				t.Fatalf("put %d with %d in it: %v", in, in-out, err)
			}
			if err == nil {
				in++
			}
		}
		for range round%3 + 1 {
			p, err := q.Take()
			if empty := in == out; empty != errors.Is(err, ErrEmpty) || !empty && (err != nil || p != element(out)) {
				t.Fatalf("take %d with %d in it: %#x, %v", out, in-out, p, err)
			}
			if err == nil {
				out++
			}
		}
	}
}

// If a process is killed after it changed a slot and before it moved the head or tail, the next operation
// moves it.
func TestQueueIsHelpedOn(t *testing.T) {
	testenv.NoLeaks(t)
	for _, by := range []string{"a process", "a program"} {
		h := newHeap(t, arena.Options{Size: 1 << 20})
		q := newQueue(t, h, 2)
		p := loadSet(t, h, arenaset.QueuePut, arenaset.QueueTake)
		put := func() {
			if by == "a program" {
				p.must(arenaset.QueuePut, arenaset.Job{On: uint64(q.p), Count: 1})
				return
			}
			at, err := h.Alloc(16)
			if err == nil {
				err = q.Put(at)
			}
			if err != nil {
				t.Error(err)
			}
		}
		take := func() {
			if by == "a program" {
				p.must(arenaset.QueueTake, arenaset.Job{On: uint64(q.p), Count: 1})
				return
			}
			at, err := q.Take()
			if err == nil {
				err = h.Free(at)
			}
			if err != nil {
				t.Error(err)
			}
		}
		for range 10 {
			put()
			q.q.tail.Add(^uint64(0)) // as if put was killed before it moved the tail
			put()
			take()
			q.q.head.Add(^uint64(0)) // as if take was killed before it moved the head
			take()
			put()
			q.q.tail.Add(^uint64(0))
			take() // the element is beyond the tail
			put()
			take()
		}
		if _, err := q.Take(); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: %v", by, err)
		}
	}
}

// putHelper is a helper process that puts elements until it is killed.
func putHelper(a *arena.Arena, _ *bufio.Reader) error {
	h, err := OpenHeap(a)
	if err != nil {
		return err
	}
	q, err := OpenQueue(h, "queue")
	if err != nil {
		return err
	}
	fmt.Println("begins")
	for {
		p, err := h.Alloc(16)
		if err != nil {
			return err
		}
		for q.Put(p) != nil {
			runtime.Gosched()
		}
	}
}

// Goroutines and programs put and take at once: each element is taken exactly once.
func TestQueueStorm(t *testing.T) {
	testenv.NoLeaks(t)
	n := uint64(100_000)
	if testing.Short() {
		n = 5000
	}
	h := newHeap(t, arena.Options{})
	s := &queueStorm{t: t, q: newQueue(t, h, 64), p: loadSet(t, h, arenaset.QueuePut, arenaset.QueueTake), n: n}
	var wg sync.WaitGroup
	for _, f := range []func(){s.put, s.putByProgram, s.take, s.takeByProgram} {
		wg.Go(f)
	}
	wg.Wait()
	if want := n * (n - 1); s.sum.Load() != want || s.taken.Load() != 2*n {
		t.Errorf("took %d of %d, their sum is %d, want %d", s.taken.Load(), 2*n, s.sum.Load(), want)
	}
}

// queueStorm puts the numbers below n into a queue and takes them. A goroutine and a program put each
// number once.
type queueStorm struct {
	t          *testing.T
	q          *Queue
	p          programs
	n          uint64
	taken, sum atomic.Uint64
}

func (s *queueStorm) put() {
	for i := range s.n {
		at, mem, err := New[[2]uint64](s.p.h)
		if err != nil {
			s.t.Error(err)
			return
		}
		mem[1] = i
		for err = s.q.Put(arena.Ptr[byte](at)); errors.Is(err, ErrFull); err = s.q.Put(arena.Ptr[byte](at)) {
			runtime.Gosched()
		}
		if err != nil {
			s.t.Error(err)
			return
		}
	}
}

func (s *queueStorm) putByProgram() {
	for job := (arenaset.Job{On: uint64(s.q.p), Count: s.n}); job.Done < s.n; {
		job, _ = s.p.run(arenaset.QueuePut, job) // stops when the queue is full
		runtime.Gosched()
	}
}

// more reports whether not all elements have been taken.
func (s *queueStorm) more() bool { return s.taken.Load() < 2*s.n && !s.t.Failed() }

func (s *queueStorm) take() {
	for s.more() {
		at, err := s.q.Take()
		if errors.Is(err, ErrEmpty) {
			runtime.Gosched()
			continue
		}
		mem, err2 := arena.Ptr[[2]uint64](at).In(s.p.h.a)
		if err != nil || err2 != nil {
			s.t.Error(err, err2)
			return
		}
		s.sum.Add(mem[1])
		if err := s.p.h.Free(at); err != nil {
			s.t.Error(err)
		}
		s.taken.Add(1)
	}
}

func (s *queueStorm) takeByProgram() {
	for s.more() {
		job, _ := s.p.run(arenaset.QueueTake, arenaset.Job{On: uint64(s.q.p), Count: 100})
		if job.Failed != 0 {
			s.t.Errorf("%+v", job)
		}
		s.taken.Add(job.Done)
		s.sum.Add(job.Sum)
	}
}

func TestQueueProducersAreKilled(t *testing.T) {
	testenv.NoLeaks(t)
	kills := 50
	if testing.Short() {
		kills = 10
	}
	h := newHeap(t, arena.Options{})
	q := newQueue(t, h, 8)
	before := used(t, h)
	for range kills {
		p := arenatest.Start(t, "put", h.a)
		p.Line()
		for range 50 {
			at, err := q.Take()
			if errors.Is(err, ErrEmpty) {
				runtime.Gosched()
				continue
			}
			if err == nil {
				err = h.Free(at)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		p.Kill()
	}
	for {
		at, err := q.Take()
		if errors.Is(err, ErrEmpty) {
			break
		}
		if err == nil {
			err = h.Free(at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if lost := (used(t, h) - before) / arenamem.ClassSize(arenamem.ClassOf(16+arenamem.HeaderSize)); lost > uint64(2*kills) {
		t.Errorf("%d kills lost %d blocks", kills, lost)
	}
}

func TestQueueRefused(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	for _, n := range []int{-1, 0, 1, 3, maxQueue * 2} {
		if _, err := NewQueue(h, "q", n); !errors.Is(err, ErrTooLarge) {
			t.Errorf("capacity %d: %v", n, err)
		}
	}
	q := newQueue(t, h, 2)
	if err := q.Put(0); !errors.Is(err, arenamem.ErrNil) {
		t.Errorf("put nil: %v", err)
	}
	if _, err := OpenList(h, "queue"); !errors.Is(err, ErrFormat) {
		t.Errorf("open it as a list: %v", err)
	}
}
