package reconstruct

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// Sites of three kinds, and one that writes only what all have and more of it: whichever comes first, each has the same
// layout.
func TestTheOrderOfSitesDoesNotMatter(t *testing.T) {
	kind := func(n uint64) recordflow.Write { return constantStore(0, 4, n, "e->kind = K;") }
	pid, ts, code := store(4, 4, "e->pid = x;"), store(8, 8, "e->ts = x;"), store(16, 4, "e->code = x;")
	sites := []*recordflow.Site{
		site(64, kind(0), pid, ts, code),
		site(64, kind(1), pid, ts, call(24, 16, "bpf_probe_read_str(&e->command, 16, p);")),
		site(64, kind(0), pid, ts, call(24, 8, "bpf_probe_read_str(&e->name, 8, p);")),
		site(64, kind(2), pid, ts, store(24, 8, "e->op.flags = x;"), store(32, 4, "e->op.fd = x;")),
	}
	const head = "kind u32@0, pid u32@4, ts u64@8, code u32@16, "
	want := []string{
		head + "at_20 u8[4]@20, name char[8]@24, at_32 u8[32]@32",
		head + "at_20 u8[4]@20, command char[16]@24, at_40 u8[24]@40",
		head + "at_20 u8[4]@20, name char[8]@24, at_32 u8[32]@32",
		head + "op {flags u64@0, fd s32@8}@24, at_36 u8[28]@36",
	}
	orders(len(sites), func(order []int) {
		var ordered []*recordflow.Site
		for _, i := range order {
			ordered = append(ordered, sites[i])
		}
		got := make([]string, len(sites))
		for n, text := range layoutsOf(ordered...) {
			got[order[n]] = text
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order %v: %s", order, diff)
		}
	})
}

// orders calls f with all orders of n numbers.
func orders(n int, f func(order []int)) {
	var next func(order []int, used uint)
	next = func(order []int, used uint) {
		if len(order) == n {
			f(order)
			return
		}
		for i := range n {
			if used&(1<<i) == 0 {
				next(append(order[:len(order):len(order)], i), used|1<<i)
			}
		}
	}
	next(nil, 0)
}
