package filter

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

// A record that does not have a field, because it ends before or has another member of the union, does not match, and
// is counted.
func TestFieldsThatARecordLacks(t *testing.T) {
	at := func(name string, t btf.Type, off btf.Bits) btf.Member {
		return btf.Member{Name: name, Type: t, Offset: off * 8}
	}
	one := &btf.Struct{Name: "one", Size: 4, Members: []btf.Member{at("a", u32, 0)}}
	two := &btf.Struct{Name: "two", Size: 4, Members: []btf.Member{at("b", s32, 0)}}
	union := &btf.Union{Size: 4, Members: []btf.Member{at("opened", one, 0), at("closed", two, 0)}}
	event := &btf.Struct{Name: "event", Size: 16, Members: []btf.Member{at("type", kind, 0), at("u", union, 4), at("last", u64, 8)}}
	set, err := decode.NewCases([]decode.Case{{Type: event, Options: decode.Options{Prefix: true}}})
	if err != nil {
		t.Fatal(err)
	}
	opened := "\x01\x00\x00\x00\x05\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00"
	for _, test := range []struct {
		expression, record string
		match              bool
		err                string
	}{
		{`u.opened.a == 5`, opened, true, ""},
		{`u.opened.a == 5`, opened[:8], true, ""},
		{`data.u.opened.a != 6 && last == 7`, opened, true, ""},
		{`last != 8`, opened[:8], false, "last"},
		{`data.last != 8`, opened[:8], false, "last"},
		{`u.closed.b != 6`, opened, false, "closed"},
		{`u.closed?.b != 6`, opened, false, "closed"},
		{`data.type == "OPENED" || u.closed.b == 6`, opened, true, ""},
	} {
		f, err := New(test.expression, set)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match(1, 0, []byte(test.record)); got != test.match {
			t.Errorf("%s: %v", test.expression, got)
		}
		n, err := f.Errors()
		if (n > 0) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %d errors, %v", test.expression, n, err)
		}
	}
}
