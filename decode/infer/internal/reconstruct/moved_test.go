package reconstruct

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// onStack returns a store to the stack from where the record gets what lies there.
func onStack(off, size int64, text string) recordflow.Write {
	w := store(off, size, text)
	w.Moved = true
	return w
}

func TestStructsThatAreMoved(t *testing.T) {
	tests := []struct {
		rule   string
		writes []recordflow.Write
		want   string
	}{
		{
			"all of the record",
			[]recordflow.Write{onStack(0, 4, "ev.a = x;"), onStack(4, 4, "ev.b.c = x;"), store(0, 8, "memcpy(e, &ev, sizeof(ev));")},
			"a u32@0, b {c u32@0}@4, at_8 u8[8]@8",
		},
		{
			"a member",
			[]recordflow.Write{onStack(8, 4, "k.port = x;"), onStack(12, 4, "k.kind = x;"), store(0, 8, "e->ts = x;"), copyOf(8, 8, "e->key = k;")},
			"ts u64@0, key {port u32@0, kind u32@4}@8",
		},
		{
			"a member of another struct",
			[]recordflow.Write{onStack(8, 8, "t->src.addr = x;"), store(0, 8, "e->ts = x;"), store(8, 8, "memcpy(&e->peer, &t->src, 8);")},
			"ts u64@0, peer {addr u64@0}@8",
		},
		{
			"a number with a name of its own",
			[]recordflow.Write{onStack(0, 4, "t->netns = x;"), store(0, 4, "e->netns_id = t->netns;"), store(4, 4, "e->x = x;")},
			"netns_id u32@0, x u32@4, at_8 u8[8]@8",
		},
	}
	for _, tt := range tests {
		got := ""
		if l := layoutOfOne(site(16, tt.writes...)); l != nil {
			got = show(l.Type.Members)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.rule, diff)
		}
	}
}
