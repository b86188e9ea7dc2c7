package consumer_test

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// rings creates n rings of 4 KiB.
func rings(tb testing.TB, n int) []*ebpf.Map {
	tb.Helper()
	var maps []*ebpf.Map
	for range n {
		maps = append(maps, testenv.Ring(tb, testenv.PageSize))
	}
	return maps
}

// groupSeqs makes one pass and returns the sequence numbers of each ring's records.
func groupSeqs(tb testing.TB, g *consumer.Group, limit int) map[int][]uint64 {
	tb.Helper()
	got := map[int][]uint64{}
	for rec := range g.Pass(limit) {
		got[rec.Ring] = append(got[rec.Ring], seq(tb, rec))
	}
	if err := g.Err(); err != nil {
		tb.Fatal(err)
	}
	return got
}

func TestGroupPass(t *testing.T) {
	type records = map[int][]uint64
	tests := []struct {
		rule  string
		read  func(t *testing.T, g *consumer.Group)
		left  records
		again bool // the rings are filled again before the last pass
	}{
		{rule: "a pass consumes all", read: func(t *testing.T, g *consumer.Group) { groupSeqs(t, g, 0) }, left: records{}},
		{
			rule: "a limit is one for each ring", read: func(t *testing.T, g *consumer.Group) { groupSeqs(t, g, 4) },
			left: records{0: from(4, 6), 1: from(4, 6), 2: from(4, 6)},
		},
		{
			rule: "leaving at a record leaves it and the later ones, and the other rings",
			read: func(t *testing.T, g *consumer.Group) {
				n := 0
				for range g.Pass(0) {
					if n++; n == 3 {
						break
					}
				}
			},
			left: records{0: from(0, 10), 1: from(2, 8), 2: from(0, 10)}, // ring 1 has the first turn in this pass
		},
		{
			rule: "rings that had nothing are looked at again",
			read: func(t *testing.T, g *consumer.Group) { groupSeqs(t, g, 0); groupSeqs(t, g, 0) },
			left: records{0: from(0, 10), 1: from(0, 10), 2: from(0, 10)}, again: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			maps := rings(t, 3)
			var producers []*producer.Producer
			for _, m := range maps {
				p := load(t, m)
				run(t, p, ten)
				producers = append(producers, p)
			}
			g := group(t, consumer.Options{}, maps...)
			tt.read(t, g)
			if tt.again {
				for _, p := range producers {
					run(t, p, ten)
				}
			}
			if diff := cmp.Diff(tt.left, groupSeqs(t, g, 0)); diff != "" {
				t.Errorf("left in the rings (-want +got):\n%s", diff)
			}
		})
	}
}

// The Group has more rings than it takes edges from epoll at a time.
func TestManyRings(t *testing.T) {
	testenv.NoLeaks(t)
	n := long(150, 70)
	maps := rings(t, n)
	g := group(t, consumer.Options{Timer: -1}, maps...)
	produced := make(chan struct{})
	go func() {
		defer close(produced)
		asleep(t)
		for _, m := range maps {
			p, err := producer.Load(m)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Size: 16, Count: 3}); err != nil {
				t.Error(err)
			}
			p.Close()
		}
	}()
	got := make([]int, n)
	for left := 3 * n; left > 0; {
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for rec := range g.Pass(1) {
			i := rec.Ring
			if seq := seq(t, rec); seq != uint64(got[i]) {
				t.Errorf("record %d of ring %d, want %d", seq, i, got[i])
			}
			got[i]++
			left--
		}
	}
	<-produced
}
