package inspect

import (
	"errors"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/bpf/mapusers"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/testenv"
)

var errNoIterator = errors.New("not now")

// bothWays runs a test with and without the kernel's iterators.
func bothWays(t *testing.T, test func(t *testing.T, newSampler func(SamplerOptions) *Sampler)) {
	t.Run("iterator", func(t *testing.T) {
		s, err := mapiter.NewScanner()
		testenv.SkipIfNotSupported(t, "iter-bpf-map", err)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		test(t, NewSampler)
	})
	t.Run("one by one", func(t *testing.T) {
		test(t, func(opts SamplerOptions) *Sampler {
			s := NewSampler(opts)
			withoutIterators(s.host)
			return s
		})
	})
}

// withoutIterators makes h work without iterators.
func withoutIterators(h *host) {
	h.maps.Pause, h.users.Pause = math.MaxInt64, math.MaxInt64
	h.maps.Get(func() (*mapiter.Scanner, error) { return nil, errNoIterator })
	h.users.Get(func() (*mapusers.Scanner, error) { return nil, errNoIterator })
}

// ringIn takes a sample and returns the description of m.
func ringIn(t *testing.T, s *Sampler, m *ebpf.Map) Map {
	t.Helper()
	sample, err := s.Sample()
	if err != nil {
		t.Fatal(err)
	}
	id := idOf(t, m)
	i := slices.IndexFunc(sample.Maps, func(d Map) bool { return d.ID == id })
	if i < 0 {
		t.Fatal("the map is not in the sample")
	}
	return sample.Maps[i]
}

func TestSamplesCountWhatFlows(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, testenv.PageSize)
		p := load(t, m)
		defer p.Close()
		s := newSampler(SamplerOptions{})
		defer s.Close()
		all := uint64(testenv.PageSize)/16 - 1 // fill the ring
		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 8})
		ringIn(t, s, m)
		produce(t, p, producer.Job{Op: producer.Output, Count: all - 10, Size: 8})
		got := ringIn(t, s, m)
		if got.Flow.Produced.Float64() != float64(all*16) || got.Flow.Consumed.Float64() != 0 || got.Flow.HighWater != all*16 || got.Flow.Saturated == 0 ||
			got.Flow.ProducedRate <= 0 || got.Flow.ConsumedRate != 0 || len(got.Flow.Rates) != 1 || !got.Flow.LagAtLeast {
			t.Errorf("got %+v", got.Flow)
		}
	})
}

// Later samples do not change an earlier report.
func TestALaterSampleLeavesAnEarlierOneAlone(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	s := NewSampler(SamplerOptions{})
	defer s.Close()
	for range 3 {
		ringIn(t, s, m)
	}
	first := ringIn(t, s, m)
	flow, rates := *first.Flow, slices.Clone(first.Flow.Rates)
	produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 8})
	for range 2 * historyLen {
		ringIn(t, s, m)
	}
	if first.Flow.Produced != flow.Produced || !slices.Equal(first.Flow.Rates, rates) {
		t.Errorf("%+v became %+v", flow, *first.Flow)
	}
}

func TestAReusedIDIsAnotherRing(t *testing.T) {
	s := &Sampler{tracks: map[ebpf.MapID]*tracked{}}
	type entry struct {
		Map
		identity mapiter.Identity
	}
	ring := entry{Map{ID: 7, Name: "events", Bytes: 4096, Type: ebpf.RingBuf, Positions: &Positions{Producer: 64}}, 1}
	follow := func(m entry) *tracked {
		k := s.follow(&m.Map, m.identity)
		k.sample(time.Now(), *m.Positions, m.Bytes)
		return k
	}
	first := follow(ring)
	if follow(ring) != first {
		t.Error("the same ring is another one")
	}
	for what, change := range map[string]func(m *entry){
		"identity": func(m *entry) { m.identity = 2 },
		"name":     func(m *entry) { m.Name = "other" },
		"size":     func(m *entry) { m.Bytes = 8192 },
		"type":     func(m *entry) { m.Type = ebpf.UserRingbuf },
		"flags":    func(m *entry) { m.Flags = 1 },
	} {
		first, other := follow(ring), ring
		change(&other)
		k := follow(other)
		if k == first {
			t.Errorf("with another %s it is the same", what)
		}
		if k.flow.Produced.Float64() != 64 {
			t.Errorf("with another %s it counts %v", what, k.flow.Produced)
		}
	}
	// If the kernel's identity is unknown, a producer_pos that moves back shows that the ring is another.
	ring.identity = 0
	first = follow(ring)
	ring.Positions = &Positions{Producer: 48}
	if follow(ring) == first {
		t.Error("with a position that went back it is the same")
	}
}

// The iterator and mappings give the same result.
func TestIteratorAndMappingsAgree(t *testing.T) {
	var h host
	defer h.close()
	_, err := h.mapScanner()
	testenv.SkipIfNotSupported(t, "iter-bpf-map", err)
	if err != nil {
		t.Fatal(err)
	}
	var ours []ebpf.MapID
	add := func(m *ebpf.Map) { ours = append(ours, idOf(t, m)) }
	m := testenv.Map(t, &ebpf.MapSpec{Name: "agreed", Type: ebpf.RingBuf, MaxEntries: 2 * testenv.PageSize})
	produce(t, load(t, m), producer.Job{Op: producer.Output, Count: 20, Size: 100})
	add(m)
	add(testenv.Ring(t, 1<<16))
	if m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize, Flags: mapflag.RBOverwrite}); err == nil {
		defer m.Close()
		produce(t, load(t, m), producer.Job{Op: producer.Output, Count: 1000, Size: 8})
		add(m)
	}
	if m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize}); err == nil {
		defer m.Close()
		add(m)
	}
	if m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Arena, MaxEntries: 16, Flags: mmapable}); err == nil {
		defer m.Close()
		add(m)
	}
	withIterator, err := h.list()
	if err != nil {
		t.Fatal(err)
	}
	oneByOne, err := listOneByOne()
	if err != nil {
		t.Fatal(err)
	}
	find := func(f found) []Map {
		return slices.DeleteFunc(f.maps, func(d Map) bool { return !slices.Contains(ours, d.ID) })
	}
	// Only the iterator reports the address of an arena.
	ignore := cmpopts.IgnoreFields(Map{}, "Arena")
	a, b := find(withIterator), find(oneByOne)
	if diff := gocmp.Diff(a, b, ignore); diff != "" || len(a) != len(ours) {
		t.Errorf("%d maps, -iterator +mappings:\n%s", len(a), diff)
	}
}

func TestSampleAfterClose(t *testing.T) {
	s := NewSampler(SamplerOptions{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Sample(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
