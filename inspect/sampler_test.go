package inspect

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bpf/mapiter"
	"github.com/rbtool/rbtool/bpf/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

var errNoIterator = errors.New("not now")

// bothWays runs a test with the kernel's iterators and without.
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
			s.host = &host{mapsErr: errNoIterator, usersErr: errNoIterator}
			return s
		})
	})
}

// ringIn returns what a new sample says of m.
func ringIn(t *testing.T, s *Sampler, m *ebpf.Map) MapSample {
	t.Helper()
	sample, err := s.Sample()
	if err != nil {
		t.Fatal(err)
	}
	id := idOf(t, m)
	i := slices.IndexFunc(sample.Maps, func(d MapSample) bool { return d.ID == id })
	if i < 0 {
		t.Fatal("the map is not in the sample")
	}
	return sample.Maps[i]
}

// eager has two samples show what is stuck, however soon one follows the other.
var eager = SamplerOptions{Options: Options{SkipPrograms: true, SkipPins: true}, StuckAfter: 1, RelateEvery: 1}

func TestAStoppedConsumerIsStuck(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, 1<<15) // the only one of this size, for what /proc shows
		p := load(t, m)
		defer p.Close()
		reader := start(t, "read", m)
		defer reader.end()
		s := newSampler(eager)
		defer s.Close()
		expect := func(when string, want State) {
			t.Helper()
			if got := ringIn(t, s, m); got.State != want || want.Stuck() != (got.Since > 0) {
				t.Errorf("%s: %s since %v, want %s", when, got.State, got.Since, want)
			}
		}
		settle := func() {
			for ringIn(t, s, m).State != Idle {
			}
		}

		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
		settle() // until the reader has them
		stop(t, reader)
		for range 3 {
			expect("stopped, nothing waits", Idle)
		}
		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
		expect("first sample with data", Flowing)
		expect("second sample with data", ConsumerStuck)
		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
		expect("more data", ConsumerStuck)
		unix.Kill(reader.pid, unix.SIGCONT)
		settle() // until the reader has those too
		expect("going on", Idle)
	})
}

// stop returns when the process has stopped.
func stop(t *testing.T, a actor) {
	t.Helper()
	if err := unix.Kill(a.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(a.pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("%v, %#x", err, status)
	}
	t.Cleanup(func() { unix.Kill(a.pid, unix.SIGCONT) })
}

func TestARecordThatStaysBusyIsItsProducers(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, 4096)
		p := load(t, m)
		defer p.Close()
		reader := start(t, "read", m)
		defer reader.end()
		s := newSampler(eager)
		defer s.Close()
		held, err := p.Hold(1, 100)
		testenv.SkipIfNotSupported(t, "bpf-syscall-program", err)
		if err != nil {
			t.Fatal(err)
		}
		if got := ringIn(t, s, m); got.State != Flowing || got.Busy == nil {
			t.Errorf("first sample: %s, busy %+v", got.State, got.Busy)
		}
		if got := ringIn(t, s, m); got.State != ProducerStuck || got.Since == 0 {
			t.Errorf("second sample: %s", got.State)
		}
		if err := held.Commit(); err != nil {
			t.Fatal(err)
		}
		for {
			got := ringIn(t, s, m)
			if got.State == ProducerStuck {
				t.Fatal("stuck after the commit")
			}
			if got.State == Idle {
				break
			}
		}
	})
}

func TestARingThatNobodyConsumes(t *testing.T) {
	needIterators(t)
	m := testenv.Ring(t, 4096)
	p := load(t, m)
	produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
	s := NewSampler(SamplerOptions{StuckAfter: 1, RelateEvery: time.Hour})
	defer s.Close()
	if got := ringIn(t, s, m); got.State != Flowing {
		t.Error(got.State)
	}
	if got := ringIn(t, s, m); got.State != Unconsumed || got.Since == 0 {
		t.Error(got.State, got.Since)
	}
	// One that stays put is noticed when the ring gets stuck again.
	start(t, "consume", m)
	page0, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page0)
	page0[0] = 112
	if got := ringIn(t, s, m); got.State != Flowing {
		t.Error(got.State)
	}
	if got := ringIn(t, s, m); got.State != ConsumerStuck {
		t.Error(got.State)
	}
}

func TestSamplesCountWhatFlows(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		m := testenv.Ring(t, 4096)
		p := load(t, m)
		defer p.Close()
		s := newSampler(SamplerOptions{})
		defer s.Close()
		produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 8})
		ringIn(t, s, m)
		produce(t, p, producer.Job{Op: producer.Output, Count: 245, Size: 8})
		got := ringIn(t, s, m)
		if got.Produced.Float64() != 255*16 || got.Consumed.Float64() != 0 || got.HighWater != 255*16 || got.Saturated == 0 ||
			got.ProducedRate <= 0 || got.ConsumedRate != 0 || len(got.Rates) != 1 || !got.LagAtLeast {
			t.Errorf("got %+v", got.Flow)
		}
	})
}

// What a sample says is the caller's.
func TestALaterSampleLeavesAnEarlierOneAlone(t *testing.T) {
	m := testenv.Ring(t, 4096)
	p := load(t, m)
	s := NewSampler(SamplerOptions{})
	defer s.Close()
	for range 3 {
		ringIn(t, s, m)
	}
	first := ringIn(t, s, m)
	flow, rates := *first.Flow, slices.Clone(first.Rates)
	produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 8})
	for range 2 * historyLen {
		ringIn(t, s, m)
	}
	if first.Produced != flow.Produced || !slices.Equal(first.Rates, rates) {
		t.Errorf("%+v became %+v", flow, *first.Flow)
	}
}

func TestAReusedIDIsAnotherRing(t *testing.T) {
	s := &Sampler{tracks: map[ebpf.MapID]*tracked{}}
	ring := Map{ID: 7, Name: "events", Bytes: 4096, typ: ebpf.RingBuf, identity: 1, Positions: &Positions{Producer: 64}}
	follow := func(m Map) *tracked {
		k := s.follow(&m)
		k.sample(time.Now(), *m.Positions, m.Bytes)
		return k
	}
	first := follow(ring)
	if follow(ring) != first {
		t.Error("the same ring is another one")
	}
	for what, change := range map[string]func(m *Map){
		"identity": func(m *Map) { m.identity = 2 },
		"name":     func(m *Map) { m.Name = "other" },
		"size":     func(m *Map) { m.Bytes = 8192 },
		"type":     func(m *Map) { m.typ = ebpf.UserRingbuf },
		"flags":    func(m *Map) { m.Flags = overwriteFlag },
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
	// Without an identity the kernel's own position tells.
	ring.identity = 0
	first = follow(ring)
	ring.Positions = &Positions{Producer: 48}
	if follow(ring) == first {
		t.Error("with a position that went back it is the same")
	}
}

// Both ways of looking see the same.
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
	m := testenv.Map(t, &ebpf.MapSpec{Name: "agreed", Type: ebpf.RingBuf, MaxEntries: 8192})
	produce(t, load(t, m), producer.Job{Op: producer.Output, Count: 20, Size: 100})
	add(m)
	add(testenv.Ring(t, 1<<16))
	if m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096, Flags: overwriteFlag}); err == nil {
		defer m.Close()
		produce(t, load(t, m), producer.Job{Op: producer.Output, Count: 1000, Size: 8})
		add(m)
	}
	if m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: 4096}); err == nil {
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
	// Only the iterator knows where an arena lies.
	ignore := []gocmp.Option{cmpopts.IgnoreUnexported(Map{}), cmpopts.IgnoreFields(Map{}, "Place")}
	a, b := find(withIterator), find(oneByOne)
	if diff := gocmp.Diff(a, b, ignore...); diff != "" || len(a) != len(ours) {
		t.Errorf("%d maps, -iterator +mappings:\n%s", len(a), diff)
	}
}

// A sample changes nothing on the host and keeps nothing of it: no map lives on,
// no position moves, and it takes as many descriptors for many rings as for one.
func TestSamplingLeavesNoTrace(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		s := newSampler(eager)
		defer s.Close()
		m := testenv.Ring(t, 4096)
		p := load(t, m)
		produce(t, p, producer.Job{Op: producer.Output, Count: 20, Size: 100})
		before := ringIn(t, s, m)
		fds := descriptors(t)
		var rings []*ebpf.Map
		for range 20 {
			rings = append(rings, testenv.Ring(t, 4096))
		}
		for range 10 {
			ringIn(t, s, m)
		}
		if now := descriptors(t) - len(rings); now != fds {
			t.Errorf("%d descriptors for one ring, %d for many", fds, now)
		}
		after := ringIn(t, s, m)
		if diff := gocmp.Diff(before.Positions, after.Positions); diff != "" {
			t.Errorf("positions before and after:\n%s", diff)
		}
		id := idOf(t, rings[0]) // which no program, freed late, holds
		for _, m := range rings {
			m.Close()
		}
		p.Close()
		if m, err := ebpf.NewMapFromID(id); !errors.Is(err, fs.ErrNotExist) {
			m.Close()
			t.Errorf("the map lives on: %v", err)
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
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

// The demand is less than 50 ms a sample for 500 rings, and less than 1% CPU at
// one sample a second: 10 ms.
func TestFiveHundredRings(t *testing.T) {
	needIterators(t)
	rings, samples := 500, 50
	if testing.Short() {
		samples = 5
	}
	for range rings {
		m := testenv.Ring(t, 4096)
		defer m.Close()
	}
	s := NewSampler(SamplerOptions{RelateEvery: time.Hour})
	defer s.Close()
	look := func() time.Duration {
		before := cpuTime(t)
		sample, err := s.Sample()
		if err != nil {
			t.Fatal(err)
		}
		if len(sample.Maps) < rings {
			t.Fatalf("%d maps", len(sample.Maps))
		}
		return cpuTime(t) - before
	}
	look() // loads the iterators
	s.related = time.Time{}
	first := look()
	var total time.Duration
	for range samples {
		total += look()
	}
	// One sample in ten looks up the relations, as the first of these did.
	mean := (total/time.Duration(samples)*9 + first) / 10
	t.Logf("CPU time: with relations %v, without %v, %v a second", first, total/time.Duration(samples), mean)
	if mean > 10*time.Millisecond && !testing.Short() && !testenv.Race {
		t.Errorf("%v of CPU time for a sample of %d rings", mean, rings)
	}
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
