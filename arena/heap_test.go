package arena

import (
	"testing"

	"github.com/rbtool/rbtool/bpf/arenaset"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestY(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, Options{})
	p := loadSet(t, h, arenaset.HeapStorm, arenaset.ListBuild, arenaset.ListFree, arenaset.TableStorm, arenaset.TableStormTP, arenaset.QueuePut, arenaset.QueueTake)
	job := p.must(arenaset.HeapStorm, arenaset.Job{Count: 10000, Seed: 1})
	st, _ := h.Stats()
	t.Logf("%+v %+v", job, st)
	l, err := NewList(h, "l")
	if err != nil {
		t.Fatal(err)
	}
	job = p.must(arenaset.ListBuild, arenaset.Job{On: uint64(l.Ptr()), Count: 1000})
	n := 0
	for _, err := range l.All() {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	t.Log(n)
	p.must(arenaset.ListFree, arenaset.Job{On: uint64(l.Ptr()), Count: 1000})
	tab, err := NewTable(h, "t", TableOptions{8, 64, 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []string{arenaset.TableStorm, arenaset.TableStormTP} {
		job = p.must(x, arenaset.Job{On: uint64(tab.Ptr()), Count: 100000, Keys: 1000, Seed: 5})
		t.Logf("%+v", job)
	}
	st, _ = h.Stats()
	nn, _ := tab.Len()
	t.Logf("%d %+v", nn, st)
	q, err := NewQueue(h, "q", 1024)
	if err != nil {
		t.Fatal(err)
	}
	p.must(arenaset.QueuePut, arenaset.Job{On: uint64(q.Ptr()), Count: 1000})
	job = p.must(arenaset.QueueTake, arenaset.Job{On: uint64(q.Ptr()), Count: 1000})
	t.Logf("%+v", job)
}
