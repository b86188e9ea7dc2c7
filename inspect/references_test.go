package inspect

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestReferences(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	r := NewReferences()
	defer r.Close()
	check := func(want uint64) {
		t.Helper()
		counts, err := r.Count()
		testenv.SkipIfNotSupported(t, "iter-bpf-map", err)
		if err != nil || counts[id] != want {
			t.Errorf("%d references, %v; want %d", counts[id], err, want)
		}
	}
	check(1)
	again, err := ebpf.NewMapFromID(id)
	if err != nil {
		t.Fatal(err)
	}
	check(2)
	again.Close()
	check(1)
}

// Before Linux 6.8 each lookup waits for a grace period: the search of such a map ends before its end, and says so.
func TestMapsOfMapsThatAreSlowAreNoted(t *testing.T) {
	testenv.NoLeaks(t)
	inner := &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize}
	outer := testenv.Map(t, &ebpf.MapSpec{
		Name: "by_hash", Type: ebpf.HashOfMaps, MaxEntries: 64, KeySize: 4, ValueSize: 4, InnerMap: inner, Flags: unix.BPF_F_NO_PREALLOC,
	})
	const rings = 64
	put := map[ebpf.MapID]bool{}
	for key := range uint32(rings) {
		ring := testenv.Ring(t, testenv.PageSize)
		put[idOf(t, ring)] = true
		if err := outer.Put(key, ring); err != nil {
			t.Fatal(err)
		}
	}
	p := refersTo(t, outer)
	defer p.Close()
	report, err := All(Options{SkipUsers: true, SkipPins: true})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, d := range report.Maps {
		if put[d.ID] && len(d.Programs) == 1 {
			found++
		}
	}
	noted := slices.ContainsFunc(report.Notes, func(note string) bool {
		return strings.HasPrefix(note, "programs that use a map through a map of maps can be missing: ") && strings.Contains(note, "RCU")
	})
	if found != rings && !noted {
		t.Errorf("the program is found for %d of %d rings, and the notes are %q", found, rings, report.Notes)
	}
}
