package inspect

import (
	"math"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/userprod"
)

// refuse fills the ring of p with samples of 100 bytes, and makes it refuse n more.
func refuse(t *testing.T, p *userprod.Producer, n int) {
	t.Helper()
	for range n {
		for p.TryWrite(make([]byte, 100)) == nil {
		}
	}
}

func TestRefusedSamplesAreSeen(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m, untouched := userRing(t, testenv.PageSize), userRing(t, testenv.PageSize)
		s := newSampler(SamplerOptions{Options: nothingElse})
		defer s.Close()
		if d := ringIn(t, s, m); d.Positions.Refused != nil || d.Flow.Refused != nil {
			t.Errorf("of a ring without producers: %+v, %+v", d.Positions.Refused, d.Flow.Refused)
		}
		p, err := userprod.New(m, userprod.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if d := ringIn(t, s, m); d.Positions.Refused == nil || d.Flow.Refused == nil || *d.Positions.Refused != (Refused{}) {
			t.Errorf("of a ring that has refused nothing: %+v, %+v", d.Positions.Refused, d.Flow.Refused)
		}
		refuse(t, p, 3)
		d, by := ringIn(t, s, m), one(t, m)
		stats, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		want := (*Refused)(&stats.Refused)
		if want.Samples != 3 || want.Bytes != 300 {
			t.Errorf("the producer counted %+v", want)
		}
		for what, got := range map[string]*Refused{"Sample": d.Positions.Refused, "Flow": d.Flow.Refused, "One": by.Positions.Refused} {
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s, -want +got:\n%s", what, diff)
			}
		}
		later := newSampler(SamplerOptions{Options: nothingElse})
		defer later.Close()
		ringIn(t, later, m)
		refuse(t, p, 2)
		if d := ringIn(t, later, m); d.Positions.Refused.Samples != 5 || d.Flow.Refused.Samples != 2 || d.Flow.Refused.Bytes != 200 {
			t.Errorf("a Sampler that began later: %+v, %+v", d.Positions.Refused, d.Flow.Refused)
		}
		if d := ringIn(t, later, untouched); d.Positions.Refused != nil {
			t.Errorf("another ring: %+v", d.Positions.Refused)
		}
	})
}

// The counts are what any process with a descriptor of the map writes.
func TestHostileCountsOfRefusals(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m := userRing(t, testenv.PageSize)
		s := newSampler(SamplerOptions{Options: nothingElse})
		defer s.Close()
		mem, err := ring.Produce(m.FD(), uint64(testenv.PageSize))
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Unmap()
		words := mem.Refusals()
		words.Begin()
		for _, n := range []uint64{5, math.MaxUint64, 0, math.MaxUint64, 7} {
			words.Samples.Store(n)
			words.Bytes.Store(n)
			words.Nanos.Store(n)
			d := ringIn(t, s, m)
			if r := d.Positions.Refused; r == nil || r.Samples != n || r.Bytes != n || r.Full != time.Duration(min(n, math.MaxInt64)) {
				t.Errorf("%d: %+v", n, r)
			}
			if f := d.Flow.Refused; f == nil || f.Full < 0 {
				t.Errorf("%d: flow %+v", n, f)
			}
		}
		words.Layout.Store(math.MaxUint64)
		if d := ringIn(t, s, m); d.Positions.Refused != nil || d.Flow.Refused != nil {
			t.Errorf("another layout: %+v, %+v", d.Positions.Refused, d.Flow.Refused)
		}
	})
}

func TestRefusedAddsDifferences(t *testing.T) {
	var sum *Refused
	var last *Refused
	for i, tt := range []struct{ now, want *Refused }{
		{&Refused{5, 50, 5}, &Refused{5, 50, 5}}, // the first producer that counts came after the first sample
		{&Refused{7, 80, 6}, &Refused{7, 80, 6}},
		{&Refused{2, 90, 1}, &Refused{7, 90, 6}}, // another process wrote smaller counts
		{nil, nil},
		{&Refused{3, 1, 1}, &Refused{3, 1, 1}},
		{&Refused{3, 1, math.MaxInt64}, &Refused{3, 1, math.MaxInt64}},
		{&Refused{3, 1, 0}, &Refused{3, 1, math.MaxInt64}},
		{&Refused{3, 1, math.MaxInt64}, &Refused{3, 1, math.MaxInt64}}, // does not overflow
	} {
		sum = sum.add(last, tt.now)
		last = tt.now
		if diff := gocmp.Diff(tt.want, sum); diff != "" {
			t.Errorf("sample %d, -want +got:\n%s", i, diff)
		}
	}
}

func TestARingThatIsNoUserRingHasNoRefusals(t *testing.T) {
	if d := one(t, testenv.Ring(t, testenv.PageSize)); d.Positions.Refused != nil {
		t.Errorf("refused: %+v", d.Positions.Refused)
	}
}
