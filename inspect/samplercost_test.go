package inspect

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A sample has no effect on the host: it keeps no map alive and moves no position. It keeps no more
// descriptors open for many rings than for one ring.
func TestSamplingLeavesNoTrace(t *testing.T) {
	bothWays(t, func(t *testing.T, newSampler func(SamplerOptions) *Sampler) {
		testenv.NoLeaks(t)
		s := newSampler(eager)
		defer s.Close()
		m := testenv.Ring(t, testenv.PageSize)
		p := load(t, m)
		produce(t, p, producer.Job{Op: producer.Output, Count: 20, Size: 100})
		before := ringIn(t, s, m)
		fds := descriptors(t)
		var rings []*ebpf.Map
		for range 20 {
			rings = append(rings, testenv.Ring(t, testenv.PageSize))
		}
		for range 10 {
			ringIn(t, s, m)
		}
		// There can be fewer: the garbage collector closes what earlier tests have left.
		if now := descriptors(t) - len(rings); now > fds {
			t.Errorf("%d descriptors for one ring, %d for many", fds, now)
		}
		after := ringIn(t, s, m)
		if diff := gocmp.Diff(before.Positions, after.Positions); diff != "" {
			t.Errorf("positions before and after:\n%s", diff)
		}
		id := idOf(t, rings[0]) // no program uses this ring: the kernel frees programs, and then their maps, late
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

// A sample of 500 rings may take 50 ms of real time, and 10 ms of CPU time: 1% of a CPU at one sample per
// second.
func TestFiveHundredRings(t *testing.T) {
	needIterators(t)
	rings, samples := 500, 50
	if testing.Short() {
		samples = 5
	}
	for range rings {
		m := testenv.Ring(t, testenv.PageSize)
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
	look() // also loads the iterators
	// On a busy host the same work takes more CPU time: the least of several rounds counts. Work that
	// takes too much does so in each round.
	rounds, most := 10, 10*time.Millisecond
	if testing.Short() || testenv.Race {
		rounds, most = 1, time.Hour
	}
	mean := most + 1
	for ; rounds > 0 && mean > most; rounds-- {
		s.related = time.Time{}
		first := look()
		var total time.Duration
		for range samples {
			total += look()
		}
		// One sample in ten looks up the relations, as the first sample here does.
		mean = (total/time.Duration(samples)*9 + first) / 10
		t.Logf("CPU time: with relations %v, without %v, %v a second", first, total/time.Duration(samples), mean)
	}
	if mean > most {
		t.Errorf("%v of CPU time for a sample of %d rings", mean, rings)
	}
}

// cpuTime returns the CPU time of this process.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
