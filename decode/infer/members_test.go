package infer

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// A buffer is often memory of one type that programs use for records of others.
func TestMemoryThatHoldsAnotherType(t *testing.T) {
	buffer := &btf.Struct{Name: "buffer", Size: 64, Members: []btf.Member{member("data", array(char, 64), 0)}}
	site := func(members ...btf.Member) *Site {
		return &Site{flow: &recordflow.Site{Min: 16, Max: 16}, named: namedMembers(&btf.Struct{Size: 16, Members: members})}
	}
	c := claim{typ: buffer, why: "it is an element of the map buffers", memory: true}
	if a, ok := site(member("data", array(char, 16), 0)).weigh(c); !ok || a.certainty != Certain || a.fit != prefixFit {
		t.Errorf("of records that are the buffer: %+v", a)
	}
	if a, ok := site(member("pid", u32, 0), member("fd", u32, 4)).weigh(c); !ok || !a.refuted || a.sound() || a.certainty != Likely {
		t.Errorf("of records of another type: %+v", a)
	}
}

// A type of BTF that may be another process' is certain only if lines name all of it.
func TestGuessedSources(t *testing.T) {
	event := &btf.Struct{Name: "event", Size: 16, Members: []btf.Member{member("a", u32, 0), member("b", u32, 4), member("c", u64, 8)}}
	c := claim{typ: event, why: "its source line names event", guessed: true}
	for n, want := range []Certainty{Likely, Likely, Likely, Certain} {
		named := namedMembers(&btf.Struct{Size: 16, Members: event.Members[:n]})
		s := &Site{flow: &recordflow.Site{Min: 16, Max: 16}, named: named}
		if a, ok := s.weigh(c); !ok || a.certainty != want || !a.sound() {
			t.Errorf("%d members named: %+v", n, a)
		}
	}
}

func TestMembersThatLinesName(t *testing.T) {
	src := &btf.Struct{Name: "endpoint", Size: 8, Members: []btf.Member{member("addr", u32, 0), member("port", u16, 4)}}
	event := &btf.Struct{Name: "event", Size: 32, Members: []btf.Member{
		member("pid", u32, 0), member("src", src, 8),
		member("", &btf.Struct{Size: 8, Members: []btf.Member{member("inner", u64, 0)}}, 16), member("more", array(src, 1), 24),
	}}
	layout := func(members ...btf.Member) *btf.Struct {
		return &btf.Struct{Name: "record", Size: 32, Members: members}
	}
	tests := []struct {
		rule              string
		layout            *btf.Struct
		confirms, refutes bool
	}{
		{"nothing named", layout(member("at_0", array(u8, 32), 0)), false, false},
		{"one named", layout(member("pid", u32, 0)), false, false},
		{"all alike", layout(member("pid", u32, 0), member("inner", u64, 16)), true, false},
		{"members of a member, which begins earlier", layout(
			member("pid", u32, 0), member("src", &btf.Struct{Size: 4, Members: []btf.Member{member("port", u16, 0)}}, 12)), true, false},
		{"members of an element", layout(member("pid", u32, 0), member("addr", u32, 24)), true, false},
		{"another name", layout(member("tid", u32, 0)), false, true},
		{"another place", layout(member("pid", u32, 4)), false, true},
		{"most alike", layout(member("pid", u32, 0), member("inner", u64, 16), member("tid", u32, 4)), false, false},
	}
	for _, tt := range tests {
		s := &Site{named: namedMembers(tt.layout)}
		if a := s.agree(event); a.confirms() != tt.confirms || a.refutes() != tt.refutes {
			t.Errorf("%s: %+v", tt.rule, a)
		}
	}
	endless := &btf.Struct{Name: "endless", Size: 8}
	endless.Members = []btf.Member{member("a", endless, 0), member("b", endless, 0)}
	(&Site{named: namedMembers(layout(member("a", u32, 0)))}).agree(endless)
}
