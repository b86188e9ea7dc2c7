package infer

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// event is a struct of a header of 8 bytes and a body.
func event(name string, size uint32) *btf.Struct {
	return &btf.Struct{Name: name, Size: size, Members: []btf.Member{
		member("kind", u32, 0), member("pid", u32, 4), member(name+"_body", array(u8, size-8), 8),
	}}
}

// sized is a site that makes records of t, of a range of lengths.
func sized(t btf.Type, least, most int64, writes ...recordflow.Write) *Site {
	s := &Site{Program: "program 1 (p)", Type: t, Certainty: Certain, Why: "stated", flow: &recordflow.Site{Min: least, Max: most, Writes: writes}}
	if t == nil {
		s.Certainty, s.Why = Unknown, "nothing is known"
	}
	return s
}

// stores are writes of constants of 4 bytes at off, in one function.
func stores(off int64, values ...uint64) (writes []recordflow.Write) {
	for i, v := range values {
		writes = append(writes, recordflow.Write{Ins: i, Func: "f", Off: off, Size: 4, Const: v, Constant: true})
	}
	return writes
}

// over says that the first of writes does not last.
func over(writes []recordflow.Write) []recordflow.Write {
	writes[0].Over = true
	return writes
}

// bytesOf are stores of the bytes of a number of 4 bytes at off.
func bytesOf(off int64, v uint64) (writes []recordflow.Write) {
	for i := range int64(4) {
		writes = append(writes, recordflow.Write{Func: "f", Off: off + i, Size: 1, Const: v >> (8 * i) & 0xff, Constant: true})
	}
	return writes
}

// anywhere is a write at an offset that is not constant, but at least that.
func anywhere(least int64) recordflow.Write {
	return recordflow.Write{Ins: 50, Func: "f", Off: -1, Least: least, Size: 1}
}

func helperAt(off, size int64) recordflow.Write {
	return recordflow.Write{Ins: 99, Func: "f", Off: off, Size: size, By: "bpf_probe_read_kernel"}
}

// record is a record of n bytes that begins with a kind.
func record(kind uint32, n int) string {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	return string(append(b, make([]byte, max(n-4, 0))...)[:n])
}

type outcome struct {
	records map[string]string // record to its type, "" for none
	likely  []string          // types that are no longer certain
	notes   []string
}

func check(t *testing.T, sites []*Site, want outcome) {
	t.Helper()
	r := &Result{Sites: sites}
	r.combine()
	for rec, name := range want.records {
		got := ""
		if r.Set != nil {
			if d, err := r.Set.Codec([]byte(rec)); err == nil {
				got = d.Name()
			}
		}
		if got != name {
			t.Errorf("record %q: %q, want %q", rec, got, name)
		}
	}
	doubted := map[string]bool{}
	for _, s := range sites {
		if s.Type != nil && s.Certainty < Certain {
			doubted[s.Type.TypeName()] = true
		}
	}
	for _, name := range want.likely {
		if !doubted[name] {
			t.Errorf("%s is certain", name)
		}
		delete(doubted, name)
	}
	if len(doubted) > 0 {
		t.Errorf("not certain: %v", doubted)
	}
	for _, n := range want.notes {
		if !strings.Contains(r.Why, n) {
			t.Errorf("why: %s\nwant it to say %q", r.Why, n)
		}
	}
	if t.Failed() {
		t.Log(r.Why, "\n", r.Set)
	}
}

// apart are sites, and what is to come of them.
type apart struct {
	sites []*Site
	want  outcome
}

func distinguishes(t *testing.T, tests map[string]apart) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { check(t, test.sites, test.want) })
	}
}

func TestConstantsTellTypesApart(t *testing.T) {
	a, b := event("a", 24), event("b", 24)
	distinguishes(t, map[string]apart{
		"constants of one size": {
			[]*Site{sized(a, 24, 24, stores(0, 1)...), sized(b, 24, 24, stores(0, 2)...)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): "b", record(3, 24): ""}},
		},
		"a constant after others": {
			[]*Site{sized(a, 24, 24, append(stores(0, 1), stores(4, 7)...)...), sized(b, 24, 24, append(stores(0, 1), stores(4, 8)...)...)},
			outcome{records: map[string]string{"\x01\x00\x00\x00" + record(7, 20): "a", "\x01\x00\x00\x00" + record(8, 20): "b"}},
		},
		"several sites of a type": {
			[]*Site{sized(a, 24, 24, stores(0, 1)...), sized(b, 24, 24, stores(0, 2)...), sized(a, 24, 24, stores(0, 3)...)},
			outcome{records: map[string]string{record(1, 24): "a", record(3, 24): "a", record(2, 24): "b"}},
		},
		"one store of two fields": {
			[]*Site{sized(a, 24, 24, recordflow.Write{Size: 8, Const: 1 | 24<<32, Constant: true}), sized(b, 24, 24, stores(0, 2)...)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): "b"}},
		},
	})
}

// A constant tells types apart only if nothing else writes there.
func TestWritesOverConstants(t *testing.T) {
	a, b, c := event("a", 24), event("b", 24), event("c", 32)
	distinguishes(t, map[string]apart{
		"a zero over which the constant is written": {
			[]*Site{sized(a, 24, 24, over(stores(0, 0, 1))...), sized(b, 24, 24, over(stores(0, 0, 2))...)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): "b", record(0, 24): ""}},
		},
		"a zero before the constant": {
			[]*Site{sized(a, 24, 24, stores(0, 0, 1)...), sized(b, 24, 24, stores(0, 0, 2)...)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): "b", record(0, 24): ""}},
		},
		"a number that is stored byte by byte": {
			[]*Site{sized(a, 24, 24, bytesOf(0, 0x0201)...), sized(b, 24, 24, bytesOf(0, 0x0301)...)},
			outcome{records: map[string]string{record(0x0201, 24): "a", record(0x0301, 24): "b", record(0x0101, 24): ""}},
		},
		"a byte that is stored over zeros": {
			[]*Site{sized(a, 24, 24, append(stores(0, 0), bytesOf(1, 2)[0])...), sized(b, 24, 24, append(stores(0, 0), bytesOf(1, 3)[0])...)},
			outcome{records: map[string]string{record(0x0200, 24): "a", record(0x0300, 24): "b", record(0, 24): ""}},
		},
		"a byte that is stored twice": {
			[]*Site{sized(a, 24, 24, append(bytesOf(0, 1), bytesOf(0, 2)[0])...), sized(b, 24, 24, bytesOf(0, 0x80)...)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): "a", record(0x80, 24): "b"}},
		},
		"an array of which any element is written": {
			[]*Site{sized(a, 24, 24, append(stores(0, 1), anywhere(4))...), sized(b, 24, 24, append(stores(0, 2), anywhere(8))...)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): "b"}},
		},
		"any byte is written": {
			[]*Site{sized(a, 24, 24, append(stores(0, 1), anywhere(0))...), sized(b, 24, 24, append(stores(0, 2), anywhere(3))...)},
			outcome{records: map[string]string{record(1, 24): "a or b", record(2, 24): "a or b"}},
		},
		"a helper writes over the constant": {
			[]*Site{sized(a, 24, 24, append(stores(0, 1), helperAt(0, 4))...), sized(c, 32, 32, stores(0, 7)...)},
			outcome{records: map[string]string{record(7, 24): "a", record(7, 32): "c"}},
		},
		"a helper of unknown length writes over the constant": {
			[]*Site{sized(a, 24, 24, append(stores(4, 1), helperAt(0, 0))...), sized(b, 24, 24, stores(4, 2)...)},
			outcome{records: map[string]string{"\x00\x00\x00\x00" + record(1, 20): "a or b"}},
		},
	})
}

func TestLengthsTellTypesApart(t *testing.T) {
	a, c := event("a", 24), event("c", 32)
	distinguishes(t, map[string]apart{
		"ranges that overlap, and a kind": {
			[]*Site{sized(a, 4, 24, stores(0, 1)...), sized(c, 0, 16)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 16): "c", record(2, 4): "c"}, likely: []string{"a"}},
		},
		"lengths": {
			[]*Site{sized(a, 24, 24), sized(c, 32, 32)},
			outcome{records: map[string]string{record(1, 24): "a", record(1, 32): "c", record(1, 28): ""}},
		},
		"ranges of lengths": {
			[]*Site{sized(a, 8, 24), sized(c, 28, -1)},
			outcome{records: map[string]string{record(1, 8): "a", record(1, 32): "c", record(1, 26): ""}},
		},
		"one length within a range": {
			[]*Site{sized(a, 24, 24), sized(c, 8, 32)},
			outcome{records: map[string]string{record(1, 24): "a", record(1, 12): "c"}, likely: []string{"a"}, notes: []string{"c can look the same"}},
		},
		"nothing": {
			[]*Site{sized(a, 24, 24), sized(event("b", 24), 24, 24), sized(c, 32, 32)},
			outcome{records: map[string]string{record(1, 24): "a or b", record(1, 32): "c"}, notes: []string{"records of a and b cannot be told apart: only what they begin with is shown"}},
		},
		"nothing in common": {
			[]*Site{sized(&btf.Struct{Name: "x", Size: 8, Members: []btf.Member{member("x", u64, 0)}}, 8, 8),
				sized(&btf.Struct{Name: "y", Size: 8, Members: []btf.Member{member("y", u64, 0)}}, 8, 8)},
			outcome{records: map[string]string{record(1, 8): ""}, notes: []string{"records of x and y cannot be told apart"}},
		},
		"records too short for their kind": {
			[]*Site{sized(a, 2, 10, stores(0, 1)...), sized(c, 2, 32)},
			outcome{records: map[string]string{record(1, 8): "a", record(1, 2): "c"}, likely: []string{"a", "c"}, notes: []string{"some records of a can look the same"}},
		},
	})
}

// Records of unknown type do not hide those of known types.
func TestRecordsOfUnknownType(t *testing.T) {
	a, c := event("a", 24), event("c", 32)
	distinguishes(t, map[string]apart{
		"one type has every record": {
			[]*Site{sized(a, 24, 24)},
			outcome{records: map[string]string{record(1, 24): "a", "x": "a"}},
		},
		"unknown records of any length": {
			[]*Site{sized(a, 24, 24), sized(nil, 0, -1)},
			outcome{records: map[string]string{record(1, 24): "a", record(1, 8): ""}, likely: []string{"a"}, notes: []string{"records of unknown type of program 1 (p) can look the same"}},
		},
		"unknown records and a constant": {
			[]*Site{sized(a, 24, 24, stores(0, 1)...), sized(nil, 0, 63)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): ""}, likely: []string{"a"}},
		},
		"unknown records with another constant": {
			[]*Site{sized(a, 24, 24, stores(0, 1)...), sized(nil, 0, 63, stores(0, 2)...)},
			outcome{records: map[string]string{record(1, 24): "a", record(2, 24): ""}},
		},
		"unknown records of another length": {
			[]*Site{sized(a, 24, 24), sized(nil, 32, 32)},
			outcome{records: map[string]string{record(1, 24): "a", record(1, 32): ""}},
		},
		"unknown records of the same length": {
			[]*Site{sized(a, 24, 24), sized(c, 32, 32), sized(nil, 24, 24)},
			outcome{records: map[string]string{record(1, 24): "", record(1, 32): "c"}, notes: []string{"records of a cannot be told apart from records of unknown type"}},
		},
		"unknown records of one length in a range": {
			[]*Site{sized(a, 8, 24), sized(nil, 16, 16)},
			outcome{records: map[string]string{record(1, 24): "a", record(1, 16): ""}},
		},
		"only unknown records": {
			[]*Site{sized(nil, 16, 16)},
			outcome{records: map[string]string{record(1, 16): ""}, notes: []string{"nothing is known"}},
		},
	})
}

func TestUnseenCodeCanChangeATag(t *testing.T) {
	a, b := sized(event("a", 24), 24, 24, stores(0, 1)...), sized(event("b", 24), 24, 24, stores(0, 2)...)
	b.flow.Escapes = true
	check(t, []*Site{a, b}, outcome{records: map[string]string{record(1, 24): "a", record(2, 24): "b"}, likely: []string{"a", "b"}})
	a, b = sized(event("a", 24), 24, 24), sized(event("b", 32), 32, 32)
	b.flow.Escapes = true
	check(t, []*Site{a, b}, outcome{records: map[string]string{record(1, 24): "a", record(2, 32): "b"}})
}

func TestAHeaderThatTypesShare(t *testing.T) {
	head := &btf.Struct{Name: "head", Size: 8, Members: []btf.Member{member("kind", u32, 0), member("n", u32, 4)}}
	with := func(name string) btf.Type {
		return &btf.Struct{Name: name, Size: 16, Members: []btf.Member{member("h", head, 0), member(name, u64, 8)}}
	}
	check(t, []*Site{sized(with("a"), 16, 16), sized(with("b"), 16, 16)},
		outcome{records: map[string]string{record(1, 16): "head"}, notes: []string{"(head)"}})
	only := sized(head, 16, 16)
	only.header = true
	check(t, []*Site{sized(with("a"), 16, 16), only}, outcome{records: map[string]string{record(1, 16): "head"}})
	only.flow = &recordflow.Site{Min: 8, Max: 64}
	r := &Result{Sites: []*Site{sized(with("a"), 16, 16), only}}
	r.combine()
	for rec, want := range map[string]string{
		record(1, 16): `{"h":{"kind":1,"n":0},"a":0}`,
		record(2, 10): `{"kind":2,"n":0,"rest":"0000"}`,
	} {
		d, err := r.Set.Codec([]byte(rec))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.AppendJSON(nil, []byte(rec)); string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

func TestATypeThatCannotBeDecoded(t *testing.T) {
	broken := &btf.Struct{Name: "broken", Size: 24, Members: []btf.Member{member("beyond", u64, 24)}}
	check(t, []*Site{sized(event("a", 32), 32, 32), sized(broken, 24, 24)},
		outcome{records: map[string]string{record(1, 32): "a", record(1, 24): ""}, notes: []string{"compile type"}})
	check(t, []*Site{sized(broken, 24, 24)}, outcome{records: map[string]string{record(1, 24): ""}, notes: []string{"compile type"}})
}

func TestNamesOfAnEnum(t *testing.T) {
	kind := &btf.Enum{Name: "kind", Size: 4, Values: []btf.EnumValue{{Name: "KIND_OPEN", Value: 1}, {Name: "KIND_CLOSE", Value: 2}, {Name: "KIND_MAX", Value: 3}}}
	with := func(name string) btf.Type {
		return &btf.Struct{Name: name, Size: 16, Members: []btf.Member{member("pid", u32, 0), member("kind", kind, 4), member(name, u64, 8)}}
	}
	opened, closed := record(0, 4)+record(1, 12), record(0, 4)+record(2, 12)
	check(t, []*Site{sized(with("open_event"), 16, 16), sized(with("close_event"), 16, 16)}, outcome{
		records: map[string]string{opened: "open_event", closed: "close_event", record(1, 16): ""},
		likely:  []string{"open_event", "close_event"}, notes: []string{"only the names of an enum tell it from"}})
	// The constants of the sites count more.
	check(t, []*Site{sized(with("open_event"), 16, 16, stores(4, 2)...), sized(with("close_event"), 16, 16, stores(4, 1)...)}, outcome{
		records: map[string]string{opened: "close_event", closed: "open_event"}})
	check(t, []*Site{sized(with("open_event"), 16, 16), sized(with("other"), 16, 16)}, outcome{
		records: map[string]string{opened: "open_event or other", closed: "open_event or other"}})
}

// However many sites and stores a ring has, the answer comes soon, and no record gets a wrong type.
func TestManySites(t *testing.T) {
	var sites []*Site
	for i := range 300 {
		s := sized(event(string(rune('a'+i%26))+string(rune('a'+i/26)), uint32(16+i)), int64(16+i), int64(16+i))
		for off := range int64(64) {
			s.flow.Writes = append(s.flow.Writes, stores(4*off, uint64(i))...)
		}
		sites = append(sites, s)
	}
	r := &Result{Sites: sites}
	r.combine()
	if r.Set == nil || len(r.Set.Codecs()) != 300 {
		t.Fatal(r.Why)
	}
	var _ *decode.Set = r.Set
}
