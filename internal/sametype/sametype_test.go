package sametype

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestSame(t *testing.T) {
	u32 := &btf.Int{Name: "u32", Size: 4}
	of := func(name string, members ...btf.Member) *btf.Struct {
		return &btf.Struct{Name: name, Size: 8, Members: members}
	}
	first := of("a", btf.Member{Name: "x", Type: u32}, btf.Member{Name: "y", Type: &btf.Array{Type: u32, Nelems: 1}, Offset: 32})
	loop := of("loop")
	loop.Members = []btf.Member{{Name: "self", Type: loop}}
	other := of("loop")
	other.Members = []btf.Member{{Name: "self", Type: other}}
	for _, test := range []struct {
		rule string
		b    btf.Type
		same bool
	}{
		{"itself", first, true},
		{"equal parts", of("a", btf.Member{Name: "x", Type: &btf.Const{Type: &btf.Int{Name: "u32", Size: 4}}},
			btf.Member{Name: "y", Type: &btf.Array{Type: u32, Nelems: 1}, Offset: 32}), true},
		{"another name", of("b", first.Members...), false},
		{"another member's name", of("a", btf.Member{Name: "z", Type: u32}, first.Members[1]), false},
		{"another offset", of("a", btf.Member{Name: "x", Type: u32, Offset: 8}, first.Members[1]), false},
		{"another number", of("a", first.Members[0]), false},
		{"another sign", of("a", btf.Member{Name: "x", Type: &btf.Int{Name: "u32", Size: 4, Encoding: btf.Signed}}, first.Members[1]), false},
		{"another length", of("a", first.Members[0], btf.Member{Name: "y", Type: &btf.Array{Type: u32, Nelems: 2}, Offset: 32}), false},
		{"another kind", &btf.Union{Name: "a", Size: 8, Members: first.Members}, false},
	} {
		if got := Same(first, test.b); got != test.same {
			t.Errorf("%s: %t", test.rule, got)
		}
	}
	enum := func(value uint64) btf.Type {
		return &btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "A", Value: value}}}
	}
	if !Same(enum(1), enum(1)) || Same(enum(1), enum(2)) {
		t.Error("enums are not compared by their values")
	}
	if Same(loop, other) {
		t.Error("types without end are the same")
	}
}
