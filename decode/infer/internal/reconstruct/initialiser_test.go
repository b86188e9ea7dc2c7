package reconstruct

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// initialised returns a store whose line, number 10, is begin, and whose value the line with this number computed.
func initialised(off, size int64, begin string, number int, text string) recordflow.Write {
	w := store(off, size, begin)
	w.Line = recordflow.Line{File: "p.c", Number: 10, Column: strings.LastIndex(begin, "{") + 1, Text: begin}
	w.Computed = recordflow.Line{File: "p.c", Number: number, Column: strings.Index(text, "=") + 3, Text: text}
	return w
}

func TestInitialisers(t *testing.T) {
	const begin, one = "*e = (struct event){", "*e = (struct event){ .pid = f() };"
	other := initialised(0, 4, begin, 11, ".pid = f(),")
	other.Computed.File = "q.c"
	tests := []struct {
		rule string
		w    recordflow.Write
		want string
	}{
		{"the line that computes the value", initialised(0, 4, begin, 11, ".pid = f(),"), "pid u32@0"},
		{"a member of the record", initialised(0, 4, "e->hdr = (struct hdr){", 12, "\t.pid = x->y,"), "hdr {pid u32@0}@0"},
		{"one line", initialised(0, 4, "*e = (struct event){", 10, "*e = (struct event){ x"), ""},
		{"before the initialiser", initialised(0, 4, begin, 9, ".pid = f(),"), ""},
		{"long after", initialised(0, 4, begin, 200, ".pid = f(),"), ""},
		{"another file", other, ""},
		{"an initialiser that ends", initialised(0, 4, "*e = (struct event){};", 11, ".pid = f(),"), ""},
		{"an assignment", initialised(0, 4, begin, 11, "e->pid = f();"), ""},
		{"no initialiser", initialised(0, 4, "*e = x;", 11, ".pid = f(),"), ""},
		{"another variable", initialised(0, 4, "*k = (struct key){", 11, ".pid = f(),"), ""},
		{"a condition", initialised(0, 4, begin, 11, ".pid = x->y > 2,"), ""},
		{"two members", initialised(0, 4, begin, 11, ".src = { .pid = f(), .x = 1 },"), ""},
	}
	for _, tt := range tests {
		got := ""
		if l := layoutOfOne(site(4, tt.w)); l != nil {
			got = show(l.Type.Members)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.rule, diff)
		}
	}
	w := initialised(0, 4, one, 10, one)
	w.Line.Column, w.Computed.Column = 6, strings.Index(one, "f()")+1
	if diff := cmp.Diff("pid u32@0", show(layoutOfOne(site(4, w)).Type.Members)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
