package consumer_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A ring with inconsistent positions is reported once. The Group continues to read its other rings.
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
	for rec := range g.Pass(0) {
		t.Errorf("a record of ring %d", rec.Ring)
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

func TestWhatIsNoGroup(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 2)
	array := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	closed := testenv.Ring(t, testenv.PageSize)
	closed.Close()
	tests := []struct {
		rule string
		maps []*ebpf.Map
		ring int
		text string
	}{
		{"a ring given twice", []*ebpf.Map{maps[0], maps[1], maps[0]}, 2, "read group: ring 2 of the group: map is the same as that of ring 0"},
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

// If the second ring is claimed, NewGroup fails and leaves the first ring unclaimed.
func TestGroupOfAClaimedRing(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 2)
	reader(t, maps[1], consumer.Options{})
	_, err := consumer.NewGroup(maps, consumer.Options{})
	if ringErr, ok := errors.AsType[*consumer.RingError](err); !ok || ringErr.Ring != 1 {
		t.Errorf("error %v", err)
	}
	refused(t, err, os.Getpid())
	reader(t, maps[0], consumer.Options{})
}
