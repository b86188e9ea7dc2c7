package infer

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
	"github.com/rbtool/rbtool/internal/syscall"
)

// A struct of the name that a line says, but of another size, is another struct.
func TestTypesThatLinesName(t *testing.T) {
	short := &btf.Struct{Name: "event", Size: 16, Members: []btf.Member{member("a", u64, 0), member("b", u64, 8)}}
	b, err := btf.NewBuilder([]btf.Type{short}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rule, line string
		size       int64
		same       bool
		want       string // the type that claims give
		lacks      string
	}{
		{"its size", "e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);", 16, true, "event", ""},
		{"of other BTF, alone", "e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);", 16, false, "event", ""},
		{"longer records", "e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);", 20, true, "", "event"},
		{"longer records of other BTF", "e = bpf_ringbuf_reserve(&rb, sizeof(struct event) + 4, 0);", 20, false, "", "event"},
		{"a header", "e = bpf_ringbuf_reserve(&rb, sizeof(struct event) + 4, 0);", 20, true, "event", ""},
		{"no such struct", "e = bpf_ringbuf_reserve(&rb, sizeof(struct other), 0);", 16, true, "", "other"},
	}
	for _, tt := range tests {
		src := source{catalog: catalogOf(t, raw), why: "the BTF", same: tt.same}
		p := &program{info: &syscall.ProgramInfo{}, sources: []source{src}}
		s := &Site{Size: tt.size, program: p, flow: &recordflow.Site{
			Call: recordflow.Reserve, Min: tt.size, Max: tt.size, Line: recordflow.Line{Text: tt.line},
		}}
		got := ""
		for _, c := range p.inLines(s) {
			got = c.typ.TypeName()
		}
		if got != tt.want || s.lacks != tt.lacks {
			t.Errorf("%s: %q, lacks %q", tt.rule, got, s.lacks)
		}
	}
}

// Of types of other BTF, the members that lines name decide.
func TestTypesOfOtherBTFThatLinesName(t *testing.T) {
	event := &btf.Struct{Name: "event", Size: 16, Members: []btf.Member{member("a", u64, 0), member("b", u64, 8)}}
	other := &btf.Struct{Name: "event", Size: 16, Members: []btf.Member{member("c", u64, 0), member("d", u64, 8)}}
	catalogs := map[*btf.Struct]*catalog{}
	for _, s := range []*btf.Struct{event, other} {
		b, err := btf.NewBuilder([]btf.Type{s}, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := b.Marshal(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		catalogs[s] = catalogOf(t, raw)
	}
	tests := []struct {
		rule    string
		sources []*btf.Struct
		named   []btf.Member
		claims  int
		foreign bool
	}{
		{"no member named", []*btf.Struct{event}, nil, 1, true},
		{"a member named", []*btf.Struct{event}, event.Members[:1], 1, true},
		{"all members named", []*btf.Struct{event}, event.Members, 1, false},
		{"another member named", []*btf.Struct{other}, event.Members[:1], 0, false},
		{"one of two", []*btf.Struct{other, event}, event.Members, 1, false},
		{"any of two", []*btf.Struct{other, event}, nil, 2, true},
	}
	for _, tt := range tests {
		p := &program{info: &syscall.ProgramInfo{}}
		for _, s := range tt.sources {
			p.sources = append(p.sources, source{catalog: catalogs[s], why: "other BTF"})
		}
		s := &Site{Size: 16, flow: &recordflow.Site{Min: 16, Max: 16}, named: namedMembers(&btf.Struct{Size: 16, Members: tt.named})}
		claims := p.called(s, srcline.TypeName{Name: "event", Tag: true}, "its source line names event")
		if len(claims) != tt.claims || len(claims) > 0 && claims[0].foreign != tt.foreign {
			t.Errorf("%s: %+v", tt.rule, claims)
		}
	}
}
