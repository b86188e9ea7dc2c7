package infer

import (
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// means returns a site that writes as writes say, and knows meanings.
func means(meanings map[int]decode.Meaning, writes ...recordflow.Write) *Site {
	return &Site{meanings: meanings, flow: &recordflow.Site{Writes: writes}}
}

func TestAllSitesMustAgreeOnAMeaning(t *testing.T) {
	u16, u64 := &btf.Int{Name: "u16", Size: 2}, &btf.Int{Name: "u64", Size: 8}
	sock := &btf.Struct{Size: 16, Members: []btf.Member{member("saddr", u32, 0), member("dport", u16, 4), member("when", u64, 8)}}
	proc := &btf.Struct{Size: 16, Members: []btf.Member{member("ppid", u32, 0), member("mode", u32, 4), member("size", u64, 8)}}
	union := &btf.Union{Size: 16, Members: []btf.Member{member("sock", sock, 0), member("proc", proc, 0)}}
	typ := &btf.Struct{Name: "ev", Size: 40, Members: []btf.Member{
		member("kind", u32, 0), member("arg0", u32, 4), member("arg1", u64, 8), member("comm", array(u8, 8), 16), member("u", union, 24),
	}}
	store := func(off, size int64) recordflow.Write { return recordflow.Write{Off: off, Size: size} }
	constant := func(off, size int64, v uint64) recordflow.Write {
		return recordflow.Write{Off: off, Size: size, Constant: true, Const: v}
	}
	hidden := recordflow.Write{Off: 0, Size: 16, Over: true}
	type m = map[int]decode.Meaning
	for _, tt := range []struct {
		name  string
		sites []*Site
		want  m
	}{
		{"one site", []*Site{means(m{4: decode.UserID, 8: decode.Ktime}, store(4, 4), store(8, 8))}, m{4: decode.UserID, 8: decode.Ktime}},
		{"another writes other values", []*Site{
			means(m{4: decode.UserID, 8: decode.Ktime}, store(4, 4), store(8, 8)), means(nil, store(4, 4), store(8, 8)),
		}, m{}},
		{"in the other order", []*Site{means(nil, store(4, 4)), means(m{4: decode.UserID}, store(4, 4))}, m{}},
		{"another writes a constant", []*Site{means(m{4: decode.UserID}, store(4, 4)), means(nil, constant(4, 4, 7))}, m{}},
		{"another has another meaning", []*Site{means(m{4: decode.UserID}, store(4, 4)), means(m{4: decode.GroupID}, store(4, 4))}, m{}},
		{"another writes over it", []*Site{means(m{4: decode.UserID}, store(4, 4)), means(nil, store(0, 8))}, m{}},
		{"another writes a part of it", []*Site{means(m{4: decode.UserID}, store(4, 4)), means(nil, store(6, 1))}, m{}},
		{"another writes nothing", []*Site{means(m{4: decode.UserID}, store(4, 4)), means(nil, store(0, 4))}, m{4: decode.UserID}},
		{"another writes zero", []*Site{means(m{4: decode.UserID}, store(4, 4)), means(nil, constant(0, 8, 0))}, m{4: decode.UserID}},
		{"a time that another lacks", []*Site{means(m{8: decode.Ktime}, store(8, 8)), means(nil, constant(8, 8, 0))}, m{}},
		{"its own write over it", []*Site{means(m{4: decode.UserID}, store(4, 4), store(0, 8))}, m{}},
		{"a write before it", []*Site{means(m{4: decode.UserID}, hidden, store(4, 4))}, m{4: decode.UserID}},
		{"text that another copies", []*Site{means(m{16: decode.Chars}, store(16, 8)), means(nil, store(16, 8))}, m{16: decode.Chars}},
		{"no field", []*Site{means(m{6: decode.Port}, store(6, 2))}, m{}},
		{"all arms have the field", []*Site{means(m{24: decode.IPv4}, store(24, 4))}, m{24: decode.IPv4}},
		{"an arm has a larger field", []*Site{means(m{28: decode.Port}, store(28, 2))}, m{}},
		{"another site writes no arm", []*Site{means(m{24: decode.IPv4}, store(24, 4)), means(nil, store(0, 4))}, m{}},
		{"another site writes another arm", []*Site{
			means(m{24: decode.IPv4, 32: decode.Ktime}, store(24, 4), store(32, 8)), means(nil, store(24, 4), store(32, 8)),
		}, m{}},
	} {
		got := (&group{typ: typ, sites: tt.sites}).options().Meanings
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", tt.name, diff)
		}
	}
}

// The number in front of a union tells which meanings a record has in it.
func TestAnArmHasItsOwnMeanings(t *testing.T) {
	a := &btf.Struct{Size: 16, Members: []btf.Member{member("x", u64, 0), member("when", u64, 8)}}
	b := &btf.Struct{Size: 16, Members: []btf.Member{member("y", u64, 0), member("size", u64, 8)}}
	u := &btf.Union{Size: 16, Members: []btf.Member{member("a", a, 0), member("b", b, 0)}}
	typ := &btf.Struct{Name: "event", Size: 24, Members: []btf.Member{member("id", u32, 0), member("pid", u32, 4), member("", u, 8)}}
	site := func(kind uint64, name string, off int64, meanings map[int]decode.Meaning) *Site {
		s := armed(typ, kind, placed{name, off})
		s.flow.Writes = append(s.flow.Writes, recordflow.Write{Off: 16, Size: 8})
		s.meanings = meanings
		return s
	}
	time, none := map[int]decode.Meaning{16: decode.Ktime}, map[int]decode.Meaning{}
	for name, test := range map[string]struct {
		sites []*Site
		want  map[uint64]map[int]decode.Meaning // by kind
	}{
		"one of two": {[]*Site{site(1, "when", 16, time), site(2, "size", 16, nil)}, map[uint64]map[int]decode.Meaning{1: time, 2: none}},
		"two sites that differ": {
			[]*Site{site(1, "when", 16, time), site(1, "when", 16, nil), site(2, "size", 16, nil)}, map[uint64]map[int]decode.Meaning{1: none, 2: none},
		},
		"a site that writes none": {
			[]*Site{site(1, "when", 16, time), armed(typ, 1), site(2, "size", 16, nil)}, map[uint64]map[int]decode.Meaning{1: none, 2: none},
		},
	} {
		got := map[uint64]map[int]decode.Meaning{}
		for _, arm := range (&group{typ: typ, sites: test.sites}).options().Arms {
			got[arm.Tag.Values[0]] = arm.Meanings
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", name, diff)
		}
	}
}

// A type can have more fields than can be visited: hostile BTF nests unions in unions.
func TestMeaningsInNestedUnionsAreBounded(t *testing.T) {
	var typ btf.Type = u32
	for range 40 {
		typ = &btf.Union{Size: 4, Members: []btf.Member{member("a", typ, 0), member("b", typ, 0)}}
	}
	g := &group{typ: typ, sites: []*Site{means(map[int]decode.Meaning{0: decode.IPv4}, recordflow.Write{Size: 4})}}
	if got := g.options().Meanings; len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

func TestMeaningsForATypeThatIsKnownOtherwise(t *testing.T) {
	ring := func(size int64, m map[int]decode.Meaning) *Site {
		s := means(m, recordflow.Write{Off: 8, Size: 8})
		s.flow.Min, s.flow.Max = size, size
		return s
	}
	r := &Result{Sites: []*Site{
		ring(16, map[int]decode.Meaning{8: decode.Ktime}), ring(12, map[int]decode.Meaning{4: decode.UserID}),
	}}
	u64 := &btf.Int{Name: "u64", Size: 8}
	user := &btf.Struct{Name: "ev", Size: 16, Members: []btf.Member{member("a", u64, 0), member("b", u64, 8)}}
	if diff := cmp.Diff(map[int]decode.Meaning{8: decode.Ktime}, r.Meanings(user)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	large := &btf.Struct{Name: "ev", Size: 32, Members: []btf.Member{member("b", u64, 8)}}
	if got := r.Meanings(large); len(got) > 0 {
		t.Errorf("a type that no record has: %v", got)
	}
}
