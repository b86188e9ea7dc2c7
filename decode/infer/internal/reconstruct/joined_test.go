package reconstruct

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// pathsJoined returns a store without a line whose value the line computed, at the column of the word.
func pathsJoined(off, size int64, text, word string) recordflow.Write {
	w := recordflow.Write{Off: off, Size: size, Max: size, Joined: true}
	w.Computed = recordflow.Line{File: "p.c", Number: 11, Column: strings.Index(text, word) + 1, Text: text}
	return w
}

func TestStoresOfSeveralPaths(t *testing.T) {
	constant := pathsJoined(0, 4, "e->a = x->y;", "y")
	constant.Constant = true
	lined := pathsJoined(0, 4, "e->a = x->y;", "y")
	lined.Line = recordflow.Line{Text: "f();"}
	kept := pathsJoined(0, 4, "ev.a = x->y;", "y")
	kept.Moved, kept.Joined, kept.Line = true, false, recordflow.Line{Text: "ev.b = x->z;", Column: 11}
	member := pathsJoined(4, 4, "ev.b = x->z;", "z")
	member.Moved, member.Line = true, recordflow.Line{Text: "ev.c = y;", Column: 6}
	first := store(0, 4, "e->ret = ret;")
	after := pathsJoined(4, 4, "e->mode = x->mode;", "x->")
	after.Line = first.Line
	byteOf := after
	byteOf.Size, byteOf.Max = 1, 1
	tests := []struct {
		rule   string
		writes []recordflow.Write
		want   string
	}{
		{"the line of the value", []recordflow.Write{pathsJoined(0, 4, "e->a = x->y;", "y")}, "a u32@0"},
		{"lines that agree", []recordflow.Write{pathsJoined(0, 4, "e->a = x->y;", "y"), pathsJoined(0, 4, "\te->a = f(z);", "f(")}, "a u32@0"},
		{"another variable", []recordflow.Write{pathsJoined(0, 4, "k->a = x->y;", "y")}, ""},
		{"a variable", []recordflow.Write{pathsJoined(0, 4, "u32 a = x->y;", "y")}, ""},
		{"a sum", []recordflow.Write{pathsJoined(0, 4, "e->a += x->y;", "y")}, ""},
		{"one value in two places", []recordflow.Write{pathsJoined(0, 4, "e->a = x->y;", "y"), pathsJoined(4, 4, "e->a = x->y;", "y")}, ""},
		{"a value that is kept on the stack", []recordflow.Write{kept}, "a u32@0"},
		{"a member on the stack", []recordflow.Write{kept, member}, "a u32@0, c u32@4"},
		{"a constant", []recordflow.Write{constant}, ""},
		{"a store with a line", []recordflow.Write{lined}, ""},
		{"a store that has the line of the one before", []recordflow.Write{first, after}, "ret s32@0, mode u32@4"},
		{"a byte of a number", []recordflow.Write{first, byteOf}, "ret s32@0"},
		{"a variable of other lines", []recordflow.Write{store(0, 4, "p->b = x;"), pathsJoined(4, 4, "p->a = x->y;", "y")}, "b u32@0, a u32@4"},
	}
	for _, tt := range tests {
		got := ""
		if l := layoutOfOne(site(8, tt.writes...)); l != nil {
			got = show(l.Type.Members)
		}
		if got, _, _ = strings.Cut(got, ", at_"); got != tt.want {
			t.Errorf("%s: (-want +got)\n%s", tt.rule, cmp.Diff(tt.want, got))
		}
	}
}
