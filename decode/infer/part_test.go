package infer

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

var (
	u8   = &btf.Int{Name: "__u8", Size: 1}
	u16  = &btf.Int{Name: "__u16", Size: 2}
	u32  = &btf.Int{Name: "__u32", Size: 4}
	u64  = &btf.Int{Name: "__u64", Size: 8}
	char = &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
)

// member is a member of a struct at an offset in bytes.
func member(name string, t btf.Type, off uint32) btf.Member {
	return btf.Member{Name: name, Type: t, Offset: btf.Bits(off * 8)}
}

func array(t btf.Type, n uint32) *btf.Array { return &btf.Array{Index: u32, Type: t, Nelems: n} }

func TestPartOfAnObject(t *testing.T) {
	wire := &btf.Struct{Name: "wire", Size: 64, Members: []btf.Member{member("a", u32, 0), member("text", array(char, 56), 8)}}
	scratch := &btf.Struct{Name: "scratch", Size: 216, Members: []btf.Member{
		member("calls", u64, 0), member("w", wire, 16), member("more", array(wire, 2), 88),
	}}
	only := &btf.Struct{Name: "only", Size: 64, Members: []btf.Member{member("w", wire, 0)}}
	tests := []struct {
		rule             string
		in               btf.Type
		off, least, most int64
		want             string
	}{
		{"the whole", scratch, 0, 216, 216, "scratch"},
		{"a member of this size", scratch, 16, 64, 64, "wire"},
		{"a number of this size", scratch, 16, 4, 4, "__u32"},
		{"the smallest struct that holds all", scratch, 16, 48, 63, "wire"},
		{"an element of an array", scratch, 88 + 64, 64, 64, "wire"},
		{"the beginning of the whole", scratch, 0, 0, 200, "scratch"},
		{"the outermost of one size", only, 0, 64, 64, "only"},
		{"no bound", only, 0, 0, -1, "only"},
		{"padding", scratch, 12, 4, 4, ""},
		{"within a number", scratch, 3, 1, 1, ""},
		{"beyond the end", scratch, 400, 4, 4, ""},
		{"before the start", scratch, -8, 4, 4, ""},
	}
	for _, tt := range tests {
		got := ""
		if found := part(tt.in, tt.off, tt.least, tt.most); found != nil {
			got = found.TypeName()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestWhichWritesFit(t *testing.T) {
	typ := &btf.Struct{Name: "event", Size: 64, Members: []btf.Member{
		member("time", u64, 0), member("ports", array(u16, 2), 8), member("ids", array(u64, 2), 16),
		member("comm", array(char, 16), 32), member("fd", u32, 48),
		member("u", &btf.Union{Size: 8, Members: []btf.Member{member("one", u64, 0), member("two", array(u32, 2), 0)}}, 56),
	}}
	at := func(off, size int64) recordflow.Write { return recordflow.Write{Off: off, Size: size} }
	on := func(line int, writes ...recordflow.Write) []recordflow.Write {
		for i := range writes {
			writes[i].Line.Number = line
		}
		return writes
	}
	by := func(helper string, w recordflow.Write) recordflow.Write { w.By = helper; return w }
	tests := []struct {
		rule   string
		writes []recordflow.Write
		fits   bool
	}{
		{"nothing", nil, true},
		{"a number", []recordflow.Write{at(0, 8)}, true},
		{"several at once", []recordflow.Write{at(8, 24)}, true},
		{"part of a number", []recordflow.Write{at(0, 4)}, false},
		{"from within a number", []recordflow.Write{at(4, 8)}, false},
		{"an element of an array", []recordflow.Write{at(10, 2)}, true},
		{"part of an element", []recordflow.Write{at(24, 4)}, false},
		{"parts of an element by two lines", append(on(1, at(24, 4)), on(2, at(28, 4))...), false},
		{"parts of an element by one line", on(1, at(24, 4), at(28, 4)), true},
		{"text", []recordflow.Write{at(35, 8), by("bpf_get_current_comm", at(32, 16))}, true},
		{"text in numbers", []recordflow.Write{by("bpf_get_current_comm", at(16, 16))}, false},
		{"padding", []recordflow.Write{at(52, 4)}, true},
		{"any part of a union", []recordflow.Write{at(60, 4)}, true},
		{"beyond the end", []recordflow.Write{at(60, 8)}, false},
		{"an unknown place", []recordflow.Write{at(-1, 1)}, true},
	}
	for _, tt := range tests {
		if why := misfit(typ, tt.writes); (why == "") != tt.fits {
			t.Errorf("%s: %q", tt.rule, why)
		}
	}
}

// Types of hostile BTF can contain themselves.
func FuzzTypes(f *testing.F) {
	f.Add(uint32(8), uint32(0), uint32(4), int64(0), int64(4))
	f.Fuzz(func(t *testing.T, size, bit, field uint32, off, width int64) {
		s := &btf.Struct{Name: "s", Size: size}
		s.Members = []btf.Member{
			{Type: &btf.Int{Size: field}, Offset: btf.Bits(bit)},
			{Type: s, Offset: btf.Bits(bit) + 1, BitfieldSize: btf.Bits(field)},
			{Type: &btf.Array{Index: u32, Type: s, Nelems: field}},
			{Type: s},
		}
		misfit(s, []recordflow.Write{{Off: off, Size: width, By: "bpf_get_current_comm"}, {Off: off, Size: width}})
		part(s, off, 0, width)
		flexible(s)
		(&Site{named: namedMembers(s)}).agree(s)
	})
}
