package reconstruct

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// addressed returns the write of a helper whose call is in line 10, which is begin, and whose address the line with this
// number computes.
func addressed(off, size int64, helper, begin string, number int, text, member string) recordflow.Write {
	w := call(off, size, begin)
	w.By = helper
	w.Line.File, w.Line.Number = "p.c", 10
	w.Computed = recordflow.Line{File: "p.c", Number: number, Column: strings.Index(text, member) + 1, Text: text}
	return w
}

func TestCallsOverSeveralLines(t *testing.T) {
	const read, begin = "bpf_probe_read_kernel_str", "if (bpf_probe_read_kernel_str("
	other := addressed(0, 16, read, begin, 11, "x->name,", "name")
	other.Computed.File = "q.c"
	tests := []struct {
		rule string
		w    recordflow.Write
		want string
	}{
		{"another variable", addressed(0, 16, read, begin, 11, "x->name,", "name"), "name char[16]@0"},
		{"in an inlined function", addressed(0, 16, read, "bpf_probe_read_kernel_str(p, 16, q);", 40, "fill(e->name, 16);", "name"), "name char[16]@0"},
		{"the line of the argument", addressed(0, 16, read, begin, 11, "\te->name,", "name"), "name char[16]@0"},
		{"an address", addressed(0, 4, "bpf_skb_load_bytes", "bpf_skb_load_bytes(skb, f(x),", 11, "&e->src.addr, 4);", "addr"), "src {addr u32@0}@0"},
		{"not its column", addressed(0, 16, read, begin, 11, "e->name,", "e->"), "at_0 char[16]@0"},
		{"before the call", addressed(0, 16, read, begin, 9, "x->name,", "name"), "at_0 char[16]@0"},
		{"long after", addressed(0, 16, read, begin, 40, "x->name,", "name"), "at_0 char[16]@0"},
		{"another file", other, "at_0 char[16]@0"},
		{"a call that ends", addressed(0, 16, read, "bpf_probe_read_kernel_str(p, 4, q);", 11, "x->name,", "name"), "at_0 char[16]@0"},
		{"no member", addressed(0, 16, read, begin, 11, "name,", "name"), "at_0 char[16]@0"},
	}
	for _, tt := range tests {
		got := ""
		if l := layoutOfOne(site(16, tt.w)); l != nil {
			got = show(l.Type.Members)
		}
		if got, _, _ = strings.Cut(got, ", at_4"); got != tt.want {
			t.Errorf("%s: (-want +got)\n%s", tt.rule, cmp.Diff(tt.want, got))
		}
	}
}
