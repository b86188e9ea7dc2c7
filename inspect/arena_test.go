package inspect

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/cilium/ebpf"
	arenas "github.com/rbtool/rbtool/arena"

	"github.com/rbtool/rbtool/internal/testenv"
)

// Pages is known if the kernel counts the pages of arenas, in bpf_arena.nr_pages.
func TestPagesOfAnArena(t *testing.T) {
	testenv.NoLeaks(t)
	a, err := arenas.Create(arenas.Options{Name: "test_pages", Size: 1 << 20})
	if errors.Is(err, ebpf.ErrNotSupported) {
		testenv.SkipWithout(t, "arena", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	const n = 3
	if _, err := a.AllocPages(0, n); err != nil {
		t.Fatal(err)
	}
	d, err := One(a.Map(), Options{SkipPrograms: true})
	if err != nil {
		t.Fatal(err)
	}
	if d.Arena == nil {
		t.Fatalf("no place: %q", d.Notes)
	}
	if d.Arena.UserBase != a.Base() {
		t.Errorf("it lies at %#x, not %#x", d.Arena.UserBase, a.Base())
	}
	if !countsPages(t) {
		if d.Arena.Pages != nil || d.Memory != 0 {
			t.Errorf("pages %v, memory %d", d.Arena.Pages, d.Memory)
		}
		return
	}
	if d.Arena.Pages == nil || *d.Arena.Pages != n || d.Memory != n*uint64(os.Getpagesize()) {
		t.Errorf("pages %v, memory %d", d.Arena.Pages, d.Memory)
	}
}

func countsPages(t *testing.T) bool {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var s *btf.Struct
	if err := kernel.TypeByName("bpf_arena", &s); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Members {
		if m.Name == "nr_pages" {
			return true
		}
	}
	return false
}
