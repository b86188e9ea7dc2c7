package filter

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

var (
	u32  = &btf.Int{Name: "u32", Size: 4}
	s32  = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	u64  = &btf.Int{Name: "u64", Size: 8}
	char = &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	kind = &btf.Enum{Name: "kind", Size: 4, Values: []btf.EnumValue{{Name: "OPENED", Value: 1}, {Name: "CLOSED", Value: 2}}}
)

// recordTypes returns two structs that differ in their first member.
func recordTypes(t testing.TB) *decode.Set {
	opened := &btf.Struct{Name: "opened", Size: 40, Members: []btf.Member{
		{Name: "type", Type: kind}, {Name: "pid", Type: u32, Offset: 32}, {Name: "addr", Type: u64, Offset: 64},
		{Name: "comm", Type: &btf.Array{Type: char, Nelems: 8}, Offset: 128},
		{Name: "at", Type: &btf.Struct{Size: 8, Members: []btf.Member{{Name: "x", Type: s32}, {Name: "y", Type: s32, Offset: 32}}}, Offset: 192},
		{Name: "list", Type: &btf.Array{Type: s32, Nelems: 2}, Offset: 256},
	}}
	closed := &btf.Struct{Name: "closed", Size: 8, Members: []btf.Member{
		{Name: "type", Type: kind}, {Name: "result", Type: s32, Offset: 32},
	}}
	set, err := decode.NewSet(opened, closed)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func records() (opened, closed []byte) {
	opened = binary.LittleEndian.AppendUint32(nil, 1)
	opened = binary.LittleEndian.AppendUint32(opened, 42)
	opened = binary.LittleEndian.AppendUint64(opened, 0xffff_8000_0000_0000)
	opened = append(opened, "bash\x00\x00\x00\x00"...)
	minus := int32(-7)
	for _, v := range []uint32{uint32(minus), 8, 1, 2} {
		opened = binary.LittleEndian.AppendUint32(opened, v)
	}
	closed = binary.LittleEndian.AppendUint32(nil, 2)
	return opened, binary.LittleEndian.AppendUint32(closed, uint32(minus))
}

func TestMatch(t *testing.T) {
	opened, closed := records()
	tests := []struct {
		expression     string
		opened, closed bool
		errors         uint64
	}{
		{`true`, true, true, 0},
		{`type == "opened"`, true, false, 0},
		{`data.type == "OPENED"`, true, false, 0},
		{`type == "opened" && pid == 42 && comm startsWith "ba"`, true, false, 0},
		{`pid == 42`, true, false, 0},
		{`pid > 41 or result < 0`, true, true, 0},
		{`pid > 41`, true, false, 0}, // the type "closed" has no member pid
		{`any(list, # == 2) // and nothing else`, true, false, 0},
		{`!(pid == 42)`, false, true, 0},
		{`data.pid == 42 || data.result == -7`, true, true, 0},
		{`at.x == -7 && data.at.y in [8, 9]`, true, false, 0},
		{`addr > 0`, true, false, 0},
		{`addr > 9223372036854775807`, true, false, 0},
		{`-1 < addr`, true, false, 0},
		{`addr == -140737488355328`, false, false, 0},
		{`any(list, # == 2)`, true, false, 0},
		{`result == -7 && len == 8 && pos == 24 && seq >= 1`, false, true, 0},
		{`comm matches "^b.*h$"`, true, false, 0},
		{`comm contains "x" || type == "closed"`, false, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			f, err := New(tt.expression, recordTypes(t))
			if err != nil {
				t.Fatal(err)
			}
			o, c := f.Match(1, 0, opened), f.Match(2, 24, closed)
			if o != tt.opened || c != tt.closed {
				t.Errorf("opened %v, closed %v", o, c)
			}
			if n, err := f.Errors(); n > tt.errors || (n > 0) != (err != nil) {
				t.Errorf("%d errors, %v", n, err)
			}
		})
	}
}

func TestNewFindsMistakes(t *testing.T) {
	tests := []struct {
		expression string
		untyped    bool
		err        string
	}{
		{`pod == 1`, false, "unknown name pod"},
		{`data.pod == 1`, false, "pod"},
		{`at.z == 1`, false, "z"},
		{`pid == "x"`, false, "invalid operation"},
		{`comm > 5`, false, "invalid operation"},
		{`addr startsWith "x"`, false, "invalid operation"},
		{`pid`, false, "expected bool"},
		{`pid ==`, false, "unexpected end"},
		{`pid=`, false, `unexpected "="`},
		{`type == "opend"`, false, `no record has type "opend" (types: opened, closed)`},
		{`data.type == "OPEND"`, false, `data.type is never "OPEND" (values:`},
		{`pid == 1`, true, "the type of the records is not known"},
		{``, false, "unexpected end"},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			set := recordTypes(t)
			if tt.untyped {
				set = nil
			}
			_, err := New(tt.expression, set)
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q in one line", err, tt.err)
			}
		})
	}
}

func TestUntypedRecords(t *testing.T) {
	f, err := New(`len > 3 && pos < 100`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Match(1, 0, make([]byte, 4)) || f.Match(1, 0, make([]byte, 3)) || f.Match(1, 100, make([]byte, 4)) {
		t.Error("wrong")
	}
}

func FuzzFilter(f *testing.F) {
	set := recordTypes(f)
	opened, closed := records()
	f.Add(`pid == 42 && at.x < 0`, opened)
	f.Add(`any(list, # == 2) || addr > 5`, closed)
	f.Fuzz(func(t *testing.T, expression string, record []byte) {
		if len(expression) > 200 {
			return
		}
		if flt, err := New(expression, set); err == nil {
			flt.Match(1, 8, record)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	f, err := New(`pid == 42 && comm startsWith "ba"`, recordTypes(b))
	if err != nil {
		b.Fatal(err)
	}
	opened, _ := records()
	b.ReportAllocs()
	for b.Loop() {
		if !f.Match(1, 0, opened) {
			b.Fatal("no match")
		}
	}
}
