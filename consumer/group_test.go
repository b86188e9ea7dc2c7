package consumer_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/bpf/producer"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// rings creates n rings of 4 KiB.
func rings(tb testing.TB, n int) []*ebpf.Map {
	tb.Helper()
	var maps []*ebpf.Map
	for range n {
		maps = append(maps, testenv.Ring(tb, 4096))
	}
	return maps
}

// groupSeqs makes one pass and returns the sequence numbers of each ring's records.
func groupSeqs(tb testing.TB, g *consumer.Group, limit int) map[int][]uint64 {
	tb.Helper()
	got := map[int][]uint64{}
	for i, rec := range g.Pass(limit) {
		got[i] = append(got[i], seq(tb, rec))
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
		again bool // the rings are filled once more before the last pass
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
			left: records{0: from(0, 10), 1: from(2, 8), 2: from(0, 10)}, // ring 1 has its turn first
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

// flooded returns a Group of two rings, of which the first has been read and
// the second has never had a record, so that the Group has to learn that it has.
func flooded(t *testing.T, opts consumer.Options, quietJob producer.Job) (g *consumer.Group, flood func(), quiet *producer.Pinger) {
	t.Helper()
	maps := rings(t, 2)
	p := load(t, maps[0])
	job := producer.Job{Op: producer.Output, Size: 16, Count: 50}
	flood = func() {
		res, err := p.Run(t.Context(), job)
		if err != nil {
			t.Error(err)
		}
		job.Seq = res.Next
	}
	quiet = pinger(t, load(t, maps[1]), quietJob)
	g = group(t, opts, maps...)
	started := make(chan struct{})
	go func() {
		defer close(started)
		asleep(t) // none of the two has anything
		flood()
	}()
	if err := g.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-started
	return g, flood, quiet
}

// Between the commit of a quiet ring's record and its turn, a flooded ring has at
// most the rest of its share and one more.
func TestFloodDoesNotStarve(t *testing.T) {
	const share = 20
	tests := []struct {
		rule string
		wait bool // between passes
	}{
		{"waiting between passes", true},
		{"pass after pass", false},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			g, flood, quiet := flooded(t, consumer.Options{Timer: -1}, producer.Job{Op: producer.Output, Size: 16})
			pinged, since, turns := 0, 0, 0
			for seen := 0; seen < long(200, 20); {
				if tt.wait {
					if err := g.Wait(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				for i := range g.Pass(share) {
					switch turns++; {
					case i == 1:
						seen++
						since = 0
					case pinged == seen && turns%97 == 0:
						ping(t, quiet)
						pinged++
					case pinged > seen:
						since++
					}
					if since > 2*share {
						t.Fatalf("%d records of a flooded ring before one of a quiet ring", since)
					}
				}
				if g.Err() != nil {
					t.Fatal(g.Err())
				}
				flood() // there is always more
			}
		})
	}
}

// A record of a quiet ring that nobody announced is found too.
func TestFloodDoesNotHideWhatNobodyAnnounces(t *testing.T) {
	testenv.NoLeaks(t)
	g, flood, quiet := flooded(t, consumer.Options{Timer: time.Millisecond},
		producer.Job{Op: producer.Output, Size: 16, Wakeup: producer.NoWakeup})
	groupSeqs(t, g, 20)
	ping(t, quiet)
	for deadline := time.Now().Add(patience); ; flood() {
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := groupSeqs(t, g, 20); len(got[1]) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it never comes while the other ring has records")
		}
	}
}

// One ring whose positions contradict each other is reported once; the others go on.
func TestCorruptRingInAGroup(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 3)
	var pings []*producer.Pinger
	for _, m := range maps {
		pings = append(pings, pinger(t, load(t, m), ten))
	}
	setConsumerPos(t, maps[1], 4)
	ping(t, pings[1])
	g := group(t, consumer.Options{}, maps...)

	if err := g.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range g.Pass(0) {
		t.Errorf("a record of ring %d", i)
	}
	var ringErr *consumer.RingError
	if err := g.Err(); !errors.Is(err, consumer.ErrCorrupt) || !errors.As(err, &ringErr) || ringErr.Ring != 1 {
		t.Errorf("error %v", err)
	}
	if text := g.Err().Error(); !strings.HasPrefix(text, "ring 1 of the group: corrupt ring: ") {
		t.Errorf("error %q", text)
	}
	for n := range uint64(5) {
		for i, pg := range pings {
			ping(t, pg)
			if i == 1 {
				continue
			}
			if ring, got, err := groupRead(t, t.Context(), g); ring != i || got != n || err != nil {
				t.Fatalf("record %d of ring %d, %v", got, ring, err)
			}
		}
	}
	pinged := pingAsleep(t, pings[1], pings[2])
	if ring, _, err := groupRead(t, t.Context(), g); ring != 2 || err != nil {
		t.Errorf("a record of ring %d, %v", ring, err)
	}
	<-pinged
	checkIdle(t, g.Wait)
}

func TestBeforePublishFailsInAGroup(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 2)
	for _, m := range maps {
		run(t, load(t, m), ten)
	}
	cause := errors.New("disk full")
	fail := true
	g := group(t, consumer.Options{BeforePublish: func() error {
		if fail {
			return cause
		}
		return nil
	}}, maps...)
	for range g.Pass(0) {
	}
	if err := g.Err(); !errors.Is(err, cause) {
		t.Errorf("pass: %v", err)
	}
	for range g.Pass(0) { // the other ring
	}
	if err := g.Err(); !errors.Is(err, cause) {
		t.Errorf("second pass: %v", err)
	}
	if err := g.Wait(t.Context()); !errors.Is(err, cause) {
		t.Errorf("Wait: %v", err)
	}
	fail = false
	if got := groupSeqs(t, g, 0); len(got) > 0 {
		t.Errorf("handed out again: %v", got)
	}
	for i := range maps {
		if s, err := g.Stats(i); err != nil || s.Records != 10 || s.Backlog != 0 {
			t.Errorf("ring %d: %+v, %v", i, s, err)
		}
	}
}

func TestGroupAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 2)
	run(t, load(t, maps[0]), ten)
	before := mapped(t)
	g := group(t, consumer.Options{}, maps...)
	for range 2 {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if now := mapped(t); now != before {
		t.Errorf("%d mappings are left", now-before)
	}
	checkGroupClosed(t, g)
}

func TestGroupClosedDuringAPass(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 3)
	for _, m := range maps {
		run(t, load(t, m), ten)
	}
	before := mapped(t)
	g := group(t, consumer.Options{}, maps...)
	got := map[int][]uint64{}
	for i, rec := range g.Pass(0) {
		if len(got) == 0 {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
		got[i] = append(got[i], seq(t, rec))
	}
	// What is under way is the pass of one ring; that of the next does not begin.
	if err := g.Err(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(map[int][]uint64{1: from(0, 10)}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if now := mapped(t); now != before {
		t.Errorf("%d mappings are left", now-before)
	}
	checkGroupClosed(t, g)
}

// checkGroupClosed calls everything that a Group has.
func checkGroupClosed(t *testing.T, g *consumer.Group) {
	t.Helper()
	check := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	check("Wait", g.Wait(t.Context()))
	for range g.Pass(0) {
		t.Error("Pass has a record after Close")
	}
	check("Pass", g.Err())
	turns := 0
	for _, err := range g.Records(t.Context()) {
		check("Records", err)
		turns++
	}
	if turns != 1 {
		t.Errorf("Records has %d turns after Close", turns)
	}
	for i := range g.Len() {
		_, err := g.Stats(i)
		check("Stats", err)
		if keys := g.Keys(i); keys != nil {
			t.Errorf("ring %d stands under keys %x", i, keys)
		}
	}
}

func TestWhatIsNoGroup(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 2)
	array := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	closed := testenv.Ring(t, 4096)
	closed.Close()
	tests := []struct {
		rule string
		maps []*ebpf.Map
		ring int
		text string
	}{
		{"a ring given twice", []*ebpf.Map{maps[0], maps[1], maps[0]}, 2, "read group: ring 2 of the group: the same map as ring 0"},
		{"a map that is no ring", []*ebpf.Map{maps[0], array}, 1, "read group: ring 1 of the group: map is a Array"},
		{"a closed map", []*ebpf.Map{closed, maps[0]}, 0, "read group: ring 0 of the group: "},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			_, err := consumer.NewGroup(tt.maps, consumer.Options{})
			var ringErr *consumer.RingError
			if !errors.As(err, &ringErr) || ringErr.Ring != tt.ring || !strings.HasPrefix(err.Error(), tt.text) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// More rings than edges are taken at a time.
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
		for i, rec := range g.Pass(1) {
			if seq := seq(t, rec); seq != uint64(got[i]) {
				t.Errorf("record %d of ring %d, want %d", seq, i, got[i])
			}
			got[i]++
			left--
		}
	}
	<-produced
}
