package proctrace

import (
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

// TestLossIsCountedExactly lets the one-page ring of a tracer overflow, and compares its counts of
// each type with those of a second tracer that loses nothing.
func TestLossIsCountedExactly(t *testing.T) { eachCopies(t, testLoss) }

func testLoss(t *testing.T, copies uint32) {
	n := 2000
	if testing.Short() {
		n = 60
	}
	n *= int(testenv.PageSize) / 4096 // as much more as the small ring holds
	whole := traceWith(t, Options{}, copies)
	small := traceWith(t, Options{RingBytes: testenv.PageSize}, copies)
	// Other processes on the host cause events too.
	smallBase, wholeBase := quietStats(t, small, whole)

	spawn(t, exits(t), n)

	got, want := quietStats(t, small, whole)
	for _, typ := range []Type{Fork, Exec, Exit} {
		g, w := *got.of(typ), *want.of(typ)
		gb, wb := *smallBase.of(typ), *wholeBase.of(typ)
		if lost(w) != 0 {
			t.Errorf("%s: the large ring lost %+v", typ, w)
		}
		if all := g.Written + lost(g) - gb.Written - lost(gb); all != w.Written-wb.Written {
			t.Errorf("%s: %d written and %d lost since %d and %d, want %d in all",
				typ, g.Written, lost(g), gb.Written, lost(gb), w.Written-wb.Written)
		}
		if lost(g) == 0 {
			t.Errorf("%s: none lost", typ)
		}
	}
	var inRing Stats
	for _, e := range drain(t, small) {
		inRing.of(e.Type).Written++
	}
	if total(inRing).Written != total(got).Written {
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

// quietStats reads the counts of two tracers until they stay the same many times in a row, so that
// each event is counted in both or in neither.
func quietStats(t *testing.T, a, b *Tracer) (ofA, ofB Stats) {
	t.Helper()
	const enough = 50
	for same := 0; same < enough; same++ {
		if nowA, nowB := stats(t, a), stats(t, b); nowA != ofA || nowB != ofB {
			ofA, ofB, same = nowA, nowB, 0
		}
	}
	return ofA, ofB
}
