package infer

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// A struct of the owner's executable is taken if the source lines name its members, and no other struct has them.
func TestStructsOfTheOwner(t *testing.T) {
	u32 := &btf.Int{Name: "u32", Size: 4}
	event := func(name string, second string) located {
		t := &btf.Struct{Name: name, Size: 8, Members: []btf.Member{
			{Name: "pid", Type: u32}, {Name: second, Type: u32, Offset: 32},
		}}
		return located{t, "the DWARF of x", placesOf(t)}
	}
	lines := map[placed]bool{{"pid", 0}: true, {"code", 4}: true}
	stores := []recordflow.Write{{Off: 0, Size: 4}, {Off: 4, Size: 4}}
	for _, test := range []struct {
		rule   string
		size   int64
		lines  map[placed]bool
		writes []recordflow.Write
		found  []located
		want   string
	}{
		{"the members that lines name", 8, lines, stores, []located{event("event", "code"), event("other", "uid")}, "event"},
		{"the same struct of two owners", 8, lines, stores, []located{event("event", "code"), event("event", "code")}, "event"},
		{"different structs", 8, lines, stores, []located{event("event", "code"), event("event2", "code")}, ""},
		{"a member that the struct lacks", 8, lines, stores, []located{event("event", "uid")}, ""},
		{"one name is not enough", 8, map[placed]bool{{"pid", 0}: true}, stores, []located{event("event", "code")}, ""},
		{"another size", 12, lines, stores, []located{event("event", "code")}, ""},
		{"stores across members", 8, lines, []recordflow.Write{{Off: 2, Size: 4}}, []located{event("event", "code")}, ""},
	} {
		s := &Site{Size: test.size, named: test.lines, flow: &recordflow.Site{Min: test.size, Max: test.size, Writes: test.writes}}
		s.choose(test.found)
		got := ""
		if s.Type != nil {
			got = s.Type.TypeName()
		}
		if got != test.want || got != "" && (s.Certainty != Likely || !strings.Contains(s.Why, "the DWARF of x")) {
			t.Errorf("%s: %q, %v: %s; want %q", test.rule, got, s.Certainty, s.Why, test.want)
		}
	}
}
