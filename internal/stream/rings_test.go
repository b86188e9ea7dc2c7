package stream

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/filter"
	"github.com/rbtool/rbtool/internal/testenv"
)

// consumeRings returns a source without rings, closed when the test ends.
func consumeRings(t *testing.T, opts consumer.Options) *Rings {
	t.Helper()
	src, err := ConsumeRings(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}

func addRing(t *testing.T, r *Rings, m *ebpf.Map, now bool) int {
	t.Helper()
	i, err := r.Add(m, now)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// loaded is a ring with its producer.
type loaded struct {
	*ebpf.Map
	p    *producer.Producer
	next uint64
}

func newRing(t *testing.T) *loaded {
	t.Helper()
	l := &loaded{Map: testenv.Ring(t, testenv.PageSize)}
	var err error
	if l.p, err = producer.Load(l.Map); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.p.Close() })
	return l
}

func (l *loaded) produce(t *testing.T, n uint64) {
	t.Helper()
	produce(t, l.p, l.next, n)
	l.next += n
}

// bySource are the two kinds of Rings, without rings.
var bySource = []struct {
	name string
	make func(t *testing.T) *Rings
}{
	{"consume", func(t *testing.T) *Rings { return consumeRings(t, consumer.Options{}) }},
	{"observe", func(t *testing.T) *Rings {
		src := ObserveRings()
		t.Cleanup(func() { src.Close() })
		return src
	}},
}

// counts is a Sink that counts the records of each ring, which are numbered.
type counts map[int]uint64

func (c counts) Append(_ context.Context, rec *Record) error {
	if err := producer.Verify(c[rec.Ring], rec.Data); err != nil {
		return err
	}
	c[rec.Ring]++
	return nil
}

func (counts) Flush() error { return nil }

// A ring retires when its records were read, also while the source waits. The source ends with its last ring.
func TestRingsRetire(t *testing.T) {
	for _, tt := range bySource {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			a, b, src, got := newRing(t), newRing(t), tt.make(t), counts{}
			var gone []int
			src.Gone = func(ring int, why error) {
				if gone = append(gone, ring); why != nil || src.TotalsOf(ring).Pos == 0 {
					t.Errorf("ring %d: %v, %+v", ring, why, src.TotalsOf(ring))
				}
			}
			a.produce(t, 5)
			addRing(t, src, a.Map, false)
			s := Stream{Source: src, Sink: got, Limits: Limits{Records: 5}}
			if err := s.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.produce(t, 5)
			go src.Do(func() {
				src.Retire(0)
				b.produce(t, 7)
				if i := addRing(t, src, b.Map, false); i != 1 {
					t.Errorf("the second ring has index %d", i)
				}
				go src.Do(func() { src.Retire(1) })
			})
			s.Limits = Limits{}
			if err := s.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(counts{0: 10, 1: 7}, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if slices.Sort(gone); !slices.Equal(gone, []int{0, 1}) || src.Len() != 0 {
				t.Errorf("rings %v have gone, %d are left", gone, src.Len())
			}
			src.Grows = true
			ctx, cancel := context.WithCancel(t.Context())
			go src.Do(cancel)
			if err := src.Wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("a source that grows, without rings: %v", err)
			}
		})
	}
}

// A ring that retires is read to its end, however often Retire is called before a pass and after one.
func TestARingIsReadToItsEnd(t *testing.T) {
	for _, tt := range bySource {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			a, src, got := newRing(t), tt.make(t), counts{}
			a.produce(t, 100)
			addRing(t, src, a.Map, false)
			for src.Len() > 0 && got[0] < 100 {
				src.Retire(0)
				src.Retire(0)
				s := Stream{Source: src, Sink: got, Limits: Limits{Records: 1}}
				if err := s.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := src.Wait(t.Context()); err != io.EOF || got[0] != 100 {
				t.Errorf("%d of 100 records were read: %v", got[0], err)
			}
		})
	}
}

// A record that nobody commits does not keep a ring that retires again after a pass.
func TestARingRetiresWithABusyRecord(t *testing.T) {
	for _, tt := range bySource {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			a, src := newRing(t), tt.make(t)
			h, err := a.p.Hold(0, 16)
			testenv.SkipIfNotSupported(t, "ringbuf-hold", err)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Discard()
			addRing(t, src, a.Map, false)
			src.Retire(0)
			src.Retire(0)
			if err := src.Wait(t.Context()); err != nil || src.Len() != 1 {
				t.Fatalf("the ring has gone without a pass: %v", err)
			}
			for rec := range src.Pass(0) {
				t.Errorf("record %+v", rec)
			}
			src.Retire(0)
			src.Retire(0)
			if err := src.Wait(t.Context()); err != io.EOF {
				t.Errorf("Wait: %v", err)
			}
		})
	}
}

// A ring that is stolen is dropped, and the others go on. The error of the last one ends the source.
func TestStolenRingsAreDropped(t *testing.T) {
	testenv.NoLeaks(t)
	a, b, src, got := newRing(t), newRing(t), consumeRings(t, consumer.Options{}), counts{}
	var dropped []int
	src.Gone = func(ring int, why error) {
		if dropped = append(dropped, ring); !errors.Is(why, consumer.ErrBusy) {
			t.Errorf("ring %d: %v", ring, why)
		}
	}
	addRing(t, src, a.Map, false)
	addRing(t, src, b.Map, false)
	steal := func(l *loaded) {
		thief, err := consumer.NewReader(l.Map, consumer.Options{Steal: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { thief.Close() })
		l.produce(t, 1)
	}
	steal(a)
	b.produce(t, 3)
	s := Stream{Source: src, Sink: got, Limits: Limits{Records: 3}}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(counts{1: 3}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	steal(b)
	s.Limits = Limits{}
	if err := s.Run(t.Context()); !errors.Is(err, consumer.ErrBusy) {
		t.Errorf("the last ring is stolen: %v", err)
	}
	if !slices.Equal(dropped, []int{0}) {
		t.Errorf("rings %v were dropped", dropped)
	}
}

// Each ring has its own filter, start and time of reading.
func TestRingsOfAStream(t *testing.T) {
	for _, tt := range bySource {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			src := tt.make(t)
			var list []*loaded
			for i := range 3 {
				l := newRing(t)
				l.produce(t, 4)
				addRing(t, src, l.Map, i == 1)
				list = append(list, l)
			}
			if pos := src.TotalsOf(1).Pos; pos != 4*16 {
				t.Errorf("the second ring begins at %d", pos)
			}
			list[1].produce(t, 2)
			one, err := filter.New("pos == 16", nil)
			if err != nil {
				t.Fatal(err)
			}
			recent := NewRecent(100, 8)
			s := Stream{Source: src, Sink: recent, Filters: []*filter.Filter{nil, nil, one}, Limits: Limits{Records: 7}}
			if err := s.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := map[int]int{}
			recent.Take(func(rec *Record) {
				if got[rec.Ring]++; rec.Time == 0 || rec.Ring == 1 && rec.Pos < 4*16 {
					t.Errorf("record %+v", rec)
				}
			})
			if diff := gocmp.Diff(map[int]int{0: 4, 1: 2, 2: 1}, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

// A ring that comes again is read from where it was left.
func TestRingsSkip(t *testing.T) {
	testenv.NoLeaks(t)
	a, src := newRing(t), ObserveRings()
	defer src.Close()
	a.produce(t, 4)
	i := addRing(t, src, a.Map, false)
	src.Skip(i, 3*16)
	for rec := range src.Pass(0) {
		if rec.Pos != 3*16 {
			t.Errorf("a record at %d", rec.Pos)
		}
	}
	if pos := src.TotalsOf(i).Pos; pos != 4*16 {
		t.Errorf("the ring was read up to %d", pos)
	}
}

// A ring keeps its index until the records of it that are held back were yielded: no other ring gets them.
func TestARingThatLeavesKeepsItsHeldRecords(t *testing.T) {
	for _, tt := range bySource {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			a, b, c, src, gone := newRing(t), newRing(t), newRing(t), tt.make(t), 0
			src.Grows = true
			o := NewOrdered(src, func(consumer.Record) uint64 { return 0 }, time.Hour)
			src.Holds = o.Holds
			src.Gone = func(ring int, why error) {
				if gone++; ring != 0 || why != nil || src.TotalsOf(ring).Pos != 3*16 {
					t.Errorf("ring %d: %v, %+v", ring, why, src.TotalsOf(ring))
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			got := map[int]int{}
			pass := func() {
				for rec := range o.Pass(0) {
					got[rec.Ring]++
				}
			}
			a.produce(t, 3)
			addRing(t, src, a.Map, false)
			pass()
			src.Do(func() { src.Retire(0) })
			src.Do(cancel)
			if err := o.Wait(ctx); !errors.Is(err, context.Canceled) || gone != 0 || src.Len() != 0 {
				t.Fatalf("%v; %d rings have gone, %d are read", err, gone, src.Len())
			}
			b.produce(t, 2)
			if i := addRing(t, src, b.Map, false); i != 1 {
				t.Errorf("the second ring has index %d", i)
			}
			pass()
			o.Wait(ctx)
			pass()
			if diff := gocmp.Diff(map[int]int{0: 3, 1: 2}, got); diff != "" || gone != 1 {
				t.Errorf("%d rings have gone; records (-want +got):\n%s", gone, diff)
			}
			if i := addRing(t, src, c.Map, false); i != 0 {
				t.Errorf("the third ring has index %d", i)
			}
		})
	}
}
