package inspect

import (
	"testing"

	"github.com/cilium/ebpf"

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
