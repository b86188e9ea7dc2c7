package infer

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

func TestStructsThatAreCopied(t *testing.T) {
	endpoint := &btf.Struct{Name: "endpoint", Size: 16, Members: []btf.Member{member("addr", u64, 0), member("port", u16, 8)}}
	other := &btf.Struct{Name: "other", Size: 16, Members: []btf.Member{member("a", u64, 0), member("b", u64, 8)}}
	using := func(values ...btf.Type) *program {
		p := &program{maps: map[uint32]recordflow.Map{}, values: map[uint32]btf.Type{}}
		for i, v := range values {
			p.maps[uint32(i)], p.values[uint32(i)] = recordflow.Map{}, v
		}
		return p
	}
	withKey := using(endpoint)
	withKey.keys = []btf.Type{other}
	tests := []struct {
		rule string
		p    []*program
		m    btf.Member
		want string
	}{
		{"the only struct of the size", []*program{using(u64, endpoint)}, member("src", array(u8, 16), 8), "endpoint"},
		{"in two maps", []*program{using(endpoint, endpoint)}, member("src", array(u8, 16), 8), "endpoint"},
		{"two structs of the size", []*program{using(endpoint, other)}, member("src", array(u8, 16), 8), ""},
		{"the key of a map is another", []*program{withKey}, member("src", array(u8, 16), 8), ""},
		{"in one of two programs", []*program{using(u64), using(endpoint)}, member("src", array(u8, 16), 8), "endpoint"},
		{"another in the second program", []*program{using(endpoint), using(other)}, member("src", array(u8, 16), 8), ""},
		{"another size", []*program{using(endpoint)}, member("src", array(u8, 32), 8), ""},
		{"text", []*program{using(endpoint)}, member("comm", array(char, 16), 8), ""},
		{"numbers", []*program{using(endpoint)}, member("src", array(u32, 4), 8), ""},
		{"bytes without a name", []*program{using(endpoint)}, member("at_8", array(u8, 16), 8), ""},
		{"a number", []*program{using(endpoint)}, member("src", u64, 8), ""},
	}
	for _, tt := range tests {
		got := ""
		if found := object(copies(tt.p, []btf.Member{tt.m})[0].Type); found != nil {
			got = found.TypeName()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}
