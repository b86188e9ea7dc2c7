package consumer_test

import (
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// adder is a Group or an ObserverGroup.
type adder interface {
	consumer.Source
	Add(m *ebpf.Map) (int, error)
	Remove(i int) error
	Len() int
}

// adders are the groups to which rings can be added, without rings. They look at rings only after wakeups.
var adders = []struct {
	name string
	make func(tb testing.TB) adder
}{
	{"Group", func(tb testing.TB) adder { return group(tb, consumer.Options{Timer: -1}) }},
	{"ObserverGroup", func(tb testing.TB) adder {
		g := consumer.NewObserverGroup(consumer.ObserverOptions{})
		tb.Cleanup(func() {
			if err := g.Close(); err != nil {
				tb.Error(err)
			}
		})
		return g
	}},
}

// add adds m to g and checks its index.
func add(tb testing.TB, g adder, m *ebpf.Map, want int) {
	tb.Helper()
	if i, err := g.Add(m); err != nil || i != want {
		tb.Fatalf("Add: ring %d, %v, want ring %d", i, err, want)
	}
}

// passed makes one pass and returns the sequence numbers of each ring's records.
func passed(tb testing.TB, g consumer.Source) map[int][]uint64 {
	tb.Helper()
	got := map[int][]uint64{}
	for rec := range g.Pass(0) {
		got[rec.Ring] = append(got[rec.Ring], seq(tb, rec))
	}
	if err := g.Err(); err != nil {
		tb.Fatal(err)
	}
	return got
}

func TestRingsComeAndGo(t *testing.T) {
	for _, tt := range adders {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			list, g := rings(t, 3), tt.make(t)
			produce := func(i int, first, n uint64) {
				t.Helper()
				run(t, load(t, list[i]), producer.Job{Op: producer.Output, Size: 16, Seq: first, Count: n})
			}
			expect := func(want map[int][]uint64) {
				t.Helper()
				if len(want) > 0 {
					if err := g.Wait(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if got := passed(t, g); !maps.EqualFunc(want, got, slices.Equal) {
					t.Errorf("records %v, want %v", got, want)
				}
			}
			expect(nil) // no rings
			produce(0, 0, 2)
			add(t, g, list[0], 0)
			add(t, g, list[1], 1)
			expect(map[int][]uint64{0: from(0, 2)}) // what was in the ring before
			produce(1, 0, 3)
			expect(map[int][]uint64{1: from(0, 3)})

			produce(0, 2, 1)
			for range 2 {
				if err := g.Remove(0); err != nil {
					t.Fatal(err)
				}
			}
			expect(nil)
			produce(2, 0, 1)
			add(t, g, list[2], 0) // the index is used again
			produce(1, 3, 1)
			expect(map[int][]uint64{0: from(0, 1), 1: from(3, 1)})
			add(t, g, list[0], 2) // the ring whose descriptor stayed open comes back
			got := passed(t, g)[2]
			produce(0, 3, 1)
			if err := g.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := from(2, 2)
			if tt.name == "ObserverGroup" {
				want = from(0, 4) // which it did not consume
			}
			if got = append(got, passed(t, g)[2]...); !slices.Equal(got, want) {
				t.Errorf("records %d of the ring that came back", got)
			}
			if g.Len() != 3 {
				t.Errorf("%d rings", g.Len())
			}
		})
	}
}

// The number of indices does not grow with the number of rings that came and went.
func TestIndicesAreUsedAgain(t *testing.T) {
	for _, tt := range adders {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			list, g := rings(t, 2), tt.make(t)
			add(t, g, list[0], 0)
			before := mapped(t)
			for range 100 {
				add(t, g, list[1], 1)
				if err := g.Remove(1); err != nil {
					t.Fatal(err)
				}
			}
			if now := mapped(t); now > before {
				t.Errorf("%d mappings are left", now-before)
			}
		})
	}
}

func TestAddRefuses(t *testing.T) {
	for _, tt := range adders {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			g := tt.make(t)
			if _, err := g.Add(testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})); err == nil {
				t.Error("an array was added")
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			if _, err := g.Add(testenv.Ring(t, testenv.PageSize)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Add after Close: %v", err)
			}
			if err := g.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Wait after Close: %v", err)
			}
			if g.Len() != 0 {
				t.Errorf("%d rings", g.Len())
			}
		})
	}
}

// A removed ring can have another consumer.
func TestRemoveReleasesTheRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	g := group(t, consumer.Options{}, m)
	if _, err := consumer.NewReader(m, consumer.Options{}); !errors.Is(err, consumer.ErrBusy) {
		t.Fatalf("a ring of the Group is opened: %v", err)
	}
	if err := g.Remove(0); err != nil {
		t.Fatal(err)
	}
	reader(t, m, consumer.Options{})
	if _, err := g.Stats(0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Stats of a removed ring: %v", err)
	}
}
