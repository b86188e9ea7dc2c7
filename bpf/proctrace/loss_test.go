package proctrace

import (
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestLossIsCountedExactly lets a ring of one page overflow and compares, type
// by type, with a second tracer that loses nothing.
func TestLossIsCountedExactly(t *testing.T) { eachCopies(t, testLoss) }

func testLoss(t *testing.T, copies uint32) {
	n := 2000
	if testing.Short() {
		n = 60
	}
	whole := traceWith(t, Options{}, copies)
	// Other processes go on meanwhile. The two agree on when the test begins
	// when nothing happens while the small one is attached.
	var small *Tracer
	var base Stats
	for small == nil {
		s, err := load(Options{RingBytes: uint32(os.Getpagesize())}, copies, btf.NewCache())
		if err != nil {
			t.Fatal(err)
		}
		base = stats(t, whole)
		if err := s.Attach(); err != nil {
			t.Fatal(err)
		}
		if stats(t, whole) == base {
			small = s
		} else {
			s.Close()
		}
	}
	defer small.Close()

	spawn(t, n)

	got, want := quietStats(t, small, whole)
	for _, typ := range []Type{Fork, Exec, Exit} {
		g, w, b := *got.of(typ), *want.of(typ), *base.of(typ)
		if w.Lost() != 0 {
			t.Errorf("%s: the large ring lost %+v", typ, w)
		}
		if g.Written+g.Lost() != w.Written-b.Written {
			t.Errorf("%s: %d written and %d lost, want %d in all", typ, g.Written, g.Lost(), w.Written-b.Written)
		}
		if g.Lost() == 0 {
			t.Errorf("%s: none lost", typ)
		}
	}
	var inRing Stats
	for _, e := range drain(t, small) {
		inRing.of(e.Type).Written++
	}
	if inRing.Total().Written != got.Total().Written {
		t.Errorf("%+v in the ring, counted %+v", inRing, got)
	}
	t.Logf("%+v", got)
}

func stats(t *testing.T, tr *Tracer) Stats {
	t.Helper()
	s, err := tr.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// quietStats reads the counts of two tracers at a moment when nothing happens.
func quietStats(t *testing.T, a, b *Tracer) (Stats, Stats) {
	t.Helper()
	for {
		before := stats(t, b)
		ofA := stats(t, a)
		if after := stats(t, b); after == before {
			return ofA, after
		}
	}
}
