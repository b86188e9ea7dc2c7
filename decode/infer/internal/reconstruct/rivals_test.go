package reconstruct

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// layoutsOf returns the layouts of sites as text; "" for none.
func layoutsOf(sites ...*recordflow.Site) (all []string) {
	for _, l := range All(sites) {
		if l == nil {
			all = append(all, "")
			continue
		}
		all = append(all, show(l.Type.Members))
	}
	return all
}

func TestSitesOfTwoKindsAreTwoLayouts(t *testing.T) {
	kind := func(n uint64) recordflow.Write { return constantStore(0, 4, n, "e->kind = K;") }
	a, b := store(8, 8, "e->a = x;"), store(8, 8, "e->b = x;")
	same, other := store(4, 4, "e->pid = x;"), store(16, 8, "e->c = x;")
	tests := []struct {
		rule string
		one  []recordflow.Write
		two  []recordflow.Write
		want []string
	}{
		{"other members, other kinds", []recordflow.Write{kind(1), same, a}, []recordflow.Write{kind(2), same, b},
			[]string{"kind u32@0, pid u32@4, a u64@8, at_16 u8[8]@16", "kind u32@0, pid u32@4, b u64@8, at_16 u8[8]@16"}},
		{"other members of one kind", []recordflow.Write{kind(1), same, a}, []recordflow.Write{kind(1), same, b},
			[]string{"kind u32@0, pid u32@4, union{a u64@0, b u64@0}@8, at_16 u8[8]@16", "kind u32@0, pid u32@4, union{a u64@0, b u64@0}@8, at_16 u8[8]@16"}},
		{"other structs, other kinds", []recordflow.Write{kind(1), same, store(8, 8, "e->v4.a = x;")}, []recordflow.Write{kind(2), same, store(16, 8, "e->v6.b = x;")},
			[]string{"kind u32@0, pid u32@4, v4 {a u64@0}@8, at_16 u8[8]@16", "kind u32@0, pid u32@4, at_8 u8[8]@8, v6 {b u64@0}@16"}},
		{"a struct and a number", []recordflow.Write{kind(1), same, store(8, 8, "e->v4.a = x;")}, []recordflow.Write{kind(2), same, store(16, 8, "e->b = x;")},
			[]string{"kind u32@0, pid u32@4, v4 {a u64@0}@8, b u64@16", "kind u32@0, pid u32@4, v4 {a u64@0}@8, b u64@16"}},
		{"other kinds with the same members", []recordflow.Write{kind(1), same, a}, []recordflow.Write{kind(2), same, other},
			[]string{"kind u32@0, pid u32@4, a u64@8, c u64@16", "kind u32@0, pid u32@4, a u64@8, c u64@16"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, layoutsOf(site(24, tt.one...), site(24, tt.two...))); diff != "" {
			t.Errorf("%s: %s", tt.rule, diff)
		}
	}
}

func TestWhatLiesBesideContradictionsIsNotSure(t *testing.T) {
	got := layoutsOf(site(16, store(0, 4, "e->kind = x;"), store(4, 4, "e->code = x;"), store(4, 2, "e->low = x;"), store(6, 2, "e->high = x;"), store(8, 8, "e->sum = x;")))
	if diff := cmp.Diff([]string{"kind u32@0, at_4 u8[4]@4, sum u64@8"}, got); diff != "" {
		t.Error(diff)
	}
}

// Branches can share the store of a byte, which then has no line: what is left of a copy begins elsewhere.
func TestACopyOfAnotherSizeIsNotSure(t *testing.T) {
	bytes := func(n int64, text string) (all []recordflow.Write) {
		for i := range n {
			all = append(all, store(3+i, 1, text))
		}
		return all
	}
	for _, tt := range []struct {
		rule   string
		writes []recordflow.Write
		want   string
	}{
		{"the size in the line", bytes(6, "__builtin_memcpy(e->mac, h, 6);"), "at_0 u8[3]@0, mac u8[6]@3, at_9 u8[7]@9"},
		{"the size by its name", bytes(6, "__builtin_memcpy(e->mac, h, ETH_ALEN);"), "at_0 u8[3]@0, mac u8[6]@3, at_9 u8[7]@9"},
		{"too few", bytes(5, "__builtin_memcpy(e->mac, h, ETH_ALEN);"), ""},
		{"unknown", bytes(5, "__builtin_memcpy(e->mac, h, sizeof(e->mac));"), "at_0 u8[3]@0, mac u8[5]@3, at_8 u8[8]@8"},
	} {
		if diff := cmp.Diff([]string{tt.want}, layoutsOf(site(16, tt.writes...))); diff != "" {
			t.Errorf("%s: %s", tt.rule, diff)
		}
	}
}
