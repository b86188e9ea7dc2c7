package decode

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
)

// testHost knows a clock that began at 2026-01-02 03:04:05 UTC, the user root and a symbol.
var testHost = Host{
	Time: func(clock Meaning, v uint64) (int64, bool) {
		start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
		return start + int64(v), clock != Timestamp || v < 1e12
	},
	User: func(id uint32) string {
		if id == 0 {
			return "root"
		}
		return ""
	},
	Group:  func(id uint32) string { return strings.Repeat("a b", int(id%2)) },
	Symbol: func(address uint64) string { return "do_exit+0x2" },
}

func TestValuesThatPeopleRead(t *testing.T) {
	be16, be32, be64 := typedef("__be16", u16), typedef("__be32", u32), typedef("__be64", u64)
	in6 := &btf.Struct{Name: "in6_addr", Size: 16, Members: []btf.Member{member("in6_u", arrayOf(u8, 16), 0)}}
	kuid := typedef("kuid_t", &btf.Struct{Size: 4, Members: []btf.Member{member("val", u32, 0)}})
	local6 := append(make([]byte, 15), 1)
	tests := []struct {
		name  string
		typ   btf.Type
		value any
		want  string
	}{
		{"saddr", u32, []byte{127, 0, 0, 1}, "127.0.0.1"}, {"saddr", arrayOf(u8, 4), []byte{10, 0, 0, 2}, "10.0.0.2"}, {"x", be32, uint32(1), "16777216"},
		{"dport", be16, []byte{1, 187}, "443"}, {"proto", be16, []byte{8, 0}, "2048"}, {"x", be64, []byte{0, 0, 0, 0, 0, 0, 1, 0}, "256"},
		{"x", in6, local6, "::1"}, {"saddr6", u128, local6, "::1"}, {"saddr", arrayOf(u32, 4), local6, "::1"},
		{"saddr", arrayOf(u8, 16), append([]byte{127, 0, 0, 1}, make([]byte, 12)...), "127.0.0.1"}, {"saddr", arrayOf(u8, 16), make([]byte, 16), "::"},
		{"saddr_v6", arrayOf(u8, 16), append([]byte{127, 0, 0, 1}, make([]byte, 12)...), "7f00:1::"},
		{"mac", arrayOf(u8, 6), []byte{2, 0, 0xab, 0, 0, 1}, "02:00:ab:00:00:01"},

		{"ktime", u64, uint64(1_500_000_000), "2026-01-02T03:04:06.500000000"}, {"ktime", u64, uint64(0), "0"},
		{"ts", u64, uint64(1), "2026-01-02T03:04:05.000000001"}, {"ts", u64, uint64(math.MaxUint64), "18446744073709551615"},
		{"latency_ns", u64, uint64(1_234_567), "1.234567ms"}, {"delta_us", s64, int64(-1500), "-1.5ms"}, {"duration_ms", u32, uint32(61_000), "1m1s"},
		{"delta_us", u64, uint64(math.MaxUint64), "18446744073709551615"},

		{"ret", s32, int32(-2), "-2(ENOENT)"}, {"ret", s32, int32(3), "3"}, {"ret", s32, int32(0), "0"}, {"ret", s32, int32(-5000), "-5000"},
		{"ret", s64, int64(-512), "-512(ERESTARTSYS)"}, {"ret", u64, uint64(math.MaxUint64), "18446744073709551615"}, {"ret", s32, int32(-1), "-1"}, {"err", s32, int32(-1), "-1(EPERM)"}, {"errno", s32, int32(13), "13(EACCES)"}, {"ret", s32, int32(-4000), "-4000"},
		{"sig", s32, int32(9), "9(SIGKILL)"}, {"sig", s32, int32(0), "0"}, {"sig", s32, int32(-1), "-1"}, {"sig", s32, int32(40), "40"},
		{"uid", u32, uint32(0), "0(root)"}, {"uid", u32, uint32(7), "7"}, {"loginuid", u32, uint32(math.MaxUint32), "4294967295(none)"}, {"x", kuid, uint32(0), "0(root)"}, {"x", kuid, uint32(7), "7"},
		{"gid", u32, uint32(1), `1("a b")`}, {"gid", u32, uint32(2), "2"}, {"pid", u32, uint32(0), "0"},
		{"dev", typedef("dev_t", u32), uint32(8<<20 | 1), "8:1"},
		{"x", &btf.Pointer{}, uint64(0xffffffff81000000), "0xffffffff81000000(do_exit+0x2)"}, {"x", &btf.Pointer{}, uint64(0x7f0000000000), "0x7f0000000000"},
		{"ip", u64, uint64(255), "0xff"}, {"kstack", arrayOf(u64, 4), le(uint64(1), uint64(0), uint64(2), uint64(0)), "[0x1,0x0,0x2]"},
		{"comm", arrayOf(u8, 4), []byte("ab\x00c"), "ab"}, {"comm", arrayOf(u8, 4), []byte{1, 2, 3, 0}, "[1,2,3,0]"}, {"comm", arrayOf(u8, 4), make([]byte, 4), `""`},
		{"digest", arrayOf(u8, 8), []byte{0, 1, 2, 3, 4, 5, 6, 255}, "hex:00010203040506ff"},
		{"data", arrayOf(u8, 8), []byte("text\x00\x00\x00\x00"), "text"}, {"data", arrayOf(u8, 8), []byte("text\x00\x01\x00\x00"), "hex:7465787400010000"},
		{"data", arrayOf(u8, 8), []byte("A\x00\x00\x00\x00\x00\x00\x00"), "hex:4100000000000000"}, {"data", arrayOf(u8, 8), []byte("tex\x01\x00\x00\x00\x00"), "hex:7465780100000000"},
	}
	for _, tt := range tests {
		record, err := binary.Append(nil, binary.LittleEndian, tt.value)
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(structOf(uint32(len(record)), member(tt.name, tt.typ, 0)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Printer(PrintOptions{Host: testHost}).AppendText(nil, record)
		if want := tt.name + "=" + tt.want; string(got) != want || err != nil {
			t.Errorf("%s, %v: got %q, %v", want, tt.typ, got, err)
		}
	}
}

// A value at the end of a record that is cut within it is shown by its kind.
func TestACutValueHasNoMeaning(t *testing.T) {
	c, err := New(structOf(6, member("mac", arrayOf(u8, 6), 0)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.AppendText(nil, []byte{1, 2}); string(got) != "mac=[1,2]" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFlags(t *testing.T) {
	enum := func(values ...btf.EnumValue) *btf.Enum { return &btf.Enum{Name: "e", Size: 4, Values: values} }
	flags := enum(btf.EnumValue{Name: "R", Value: 1}, btf.EnumValue{Name: "W", Value: 2}, btf.EnumValue{Name: "RW", Value: 3}, btf.EnumValue{Name: "X", Value: 8})
	numbers := enum(btf.EnumValue{Name: "A", Value: 1}, btf.EnumValue{Name: "B", Value: 2}, btf.EnumValue{Name: "C", Value: 4}, btf.EnumValue{Name: "D", Value: 16}, btf.EnumValue{Name: "E", Value: 35})
	few := enum(btf.EnumValue{Name: "A", Value: 1}, btf.EnumValue{Name: "B", Value: 2})
	counted := enum(btf.EnumValue{Name: "A", Value: 0}, btf.EnumValue{Name: "B", Value: 1}, btf.EnumValue{Name: "C", Value: 2}, btf.EnumValue{Name: "D", Value: 3}, btf.EnumValue{Name: "E", Value: 4})
	for _, tt := range []struct {
		typ   *btf.Enum
		value uint32
		want  string
	}{
		{flags, 9, "R|X"}, {flags, 3, "RW"}, {flags, 0x28, "X|0x20"}, {flags, 0x20, "32"}, {flags, 0, "0"},
		{numbers, 3, "3"}, {few, 3, "3"}, {counted, 5, "5"},
	} {
		c, err := New(structOf(4, member("f", tt.typ, 0)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.AppendText(nil, le(tt.value)); string(got) != "f="+tt.want || err != nil {
			t.Errorf("%d of %v: got %q, want %q, %v", tt.value, tt.typ.Values, got, tt.want, err)
		}
		if v, err := c.Select().Values(le(uint32(9))); tt.typ == flags && (err != nil || v.(map[string]any)["f"] != "R|X") {
			t.Errorf("value %v, %v", v, err)
		}
	}
}

func TestLongValuesAreShortened(t *testing.T) {
	c, err := New(structOf(640, member("s", arrayOf(char, 400), 0), member("a", arrayOf(u16, 100), 400), member("b", arrayOf(u8, 40), 600)))
	if err != nil {
		t.Fatal(err)
	}
	record := append(bytes.Repeat([]byte("é"), 200), make([]byte, 240)...)
	long, err := c.Printer(PrintOptions{Full: true}).AppendText(nil, record)
	if want := "s=\"" + strings.Repeat("é", 200) + "\" a=[" + strings.Repeat("0,", 99) + "0] b=hex:" + strings.Repeat("00", 40); string(long) != want || err != nil {
		t.Errorf("in full: %q, %v", long, err)
	}
	short, err := c.Printer(PrintOptions{}).AppendText(nil, record)
	if want := "s=\"" + strings.Repeat("é", 80) + "\"...(+240) a=[" + strings.Repeat("0,", 15) + "0...(+84)] b=hex:" + strings.Repeat("00", 16) + "...(+24)"; string(short) != want || err != nil {
		t.Errorf("shortened: %q, %v", short, err)
	}
}

func TestAPrinterOfSomeFields(t *testing.T) {
	end := structOf(4, member("port", u16, 0), member("id", u16, 2))
	c, err := New(structOf(24, member("pid", u32, 0), member("src", end, 4), member("dst", end, 8), member("big", u64, 16)))
	if err != nil {
		t.Fatal(err)
	}
	record := le(uint32(1), uint16(2), uint16(3), uint16(4), uint16(5), uint32(0), uint64(6))
	for _, tt := range []struct {
		fields     []string
		text, json string
	}{
		{nil, "pid=1 src={port=2 id=3} dst={port=4 id=5} big=6", `{"pid":1,"src":{"port":2,"id":3},"dst":{"port":4,"id":5},"big":"6"}`},
		{[]string{"big", "pid"}, "big=6 pid=1", `{"big":"6","pid":1}`},
		{[]string{"dst.port", "pid", "dst.id", "dst.port"}, "dst.port=4 dst.id=5 pid=1", `{"dst":{"port":4,"id":5},"pid":1}`},
		{[]string{"src"}, "src.port=2 src.id=3", `{"src":{"port":2,"id":3}}`},
		{[]string{"src.id", "src"}, "src.port=2 src.id=3", `{"src":{"port":2,"id":3}}`},
		{[]string{"none", "src.none", "pid.none"}, "", `{}`},
	} {
		v := c.Printer(PrintOptions{Fields: tt.fields, Int64Strings: true})
		text, err := v.AppendText(nil, record)
		if err != nil || string(text) != tt.text {
			t.Errorf("%q: got %q, %v, want %q", tt.fields, text, err, tt.text)
		}
		if json, err := v.AppendJSON(nil, record); err != nil || string(json) != tt.json {
			t.Errorf("%q: got %s, %v, want %s", tt.fields, json, err, tt.json)
		}
	}
}

func TestAPrinterOfSomeFieldsOfOtherRecords(t *testing.T) {
	c := codecOf(t, structOf(8, member("kind", u32, 0), member("len", u32, 4)), Options{Header: true, Prefix: true})
	for _, tt := range []struct {
		fields     []string
		record     []byte
		text, json string
	}{
		{[]string{"len"}, le(uint32(1), uint32(2), uint16(3)), "len=2", `{"len":2}`},
		{[]string{"rest", "len"}, le(uint32(1), uint32(2), uint16(3)), "len=2 rest=hex:0300", `{"len":2,"rest":"0300"}`},
		{[]string{"len", "kind"}, le(uint32(1)), "kind=1", `{"kind":1}`},
	} {
		p := c.Printer(PrintOptions{Fields: tt.fields})
		text, err := p.AppendText(nil, tt.record)
		json, jsonErr := p.AppendJSON(nil, tt.record)
		if err != nil || jsonErr != nil || string(text) != tt.text || string(json) != tt.json {
			t.Errorf("%q: %q, %v, %s, %v", tt.fields, text, err, json, jsonErr)
		}
	}
	all := c.Printer(PrintOptions{})
	for _, tt := range []struct {
		p       *Printer
		fields  []string
		record  []byte
		columns int
		row     string
	}{
		{all, []string{""}, le(uint32(1), uint32(2), uint16(3)), 3, "1 2 hex:0300"},
		{all, []string{""}, le(uint32(1), uint32(2)), 3, "1 2 -"},
		{c.Printer(PrintOptions{Fields: []string{"rest", "len"}}), []string{"rest", "len"}, le(uint32(1), uint32(2), uint16(3)), 2, "hex:0300 2"},
		{c.Printer(PrintOptions{Fields: []string{"len"}}), []string{"len"}, le(uint32(1), uint32(2), uint16(3)), 1, "2"},
	} {
		var columns []Column
		for _, f := range tt.fields {
			columns = tt.p.AddColumns(columns, f)
		}
		row, err := tt.p.AppendRow(nil, tt.record, columns)
		if err != nil || len(columns) != tt.columns || strings.Join(strings.Fields(string(row)), " ") != tt.row {
			t.Errorf("%q: %v, %q, %v, want %q", tt.fields, columns, row, err, tt.row)
		}
	}

	arms := &btf.Union{Size: 4, Members: []btf.Member{member("exec", u32, 0), member("exit", s32, 0)}}
	kind := &btf.Enum{Name: "kind", Size: 4, Values: []btf.EnumValue{{Name: "EXEC", Value: 1}, {Name: "EXIT", Value: 2}}}
	c = codecOf(t, structOf(8, member("kind", kind, 0), member("", arms, 4)), Options{})
	p := c.Printer(PrintOptions{Fields: []string{"exit", "exec", "kind"}})
	columns := p.AddColumns(nil, "")
	for tag, want := range map[uint32]string{1: "exec=7 kind=EXEC", 2: "exit=7 kind=EXIT", 3: "exit=7 exec=7 kind=3"} {
		record := le(tag, uint32(7))
		text, err := p.AppendText(nil, record)
		if err != nil || strings.Join(strings.Fields(string(text)), " ") != want {
			t.Errorf("kind %d: %q, %v, want %q", tag, text, err, want)
		}
		row, err := p.AppendRow(nil, record, columns)
		cells := map[uint32]string{1: "- 7 EXEC", 2: "7 - EXIT", 3: "7 7 3"}[tag]
		if err != nil || strings.Join(strings.Fields(string(row)), " ") != cells {
			t.Errorf("kind %d: row %q, %v, want %q", tag, row, err, cells)
		}
	}
}

// The time of a record is that of the first field that a helper fills with a clock, also in a header; a name says too little.
func TestTheTimeOfARecord(t *testing.T) {
	header := structOf(16, member("kind", u32, 0), member("ts_ns", u64, 8))
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	record := le(uint32(1), uint32(0), uint64(7), uint64(9))
	for _, tt := range []struct {
		rule  string
		known map[int]Meaning
		typ   btf.Type
		want  int64
	}{
		{"in a header", map[int]Meaning{8: Ktime}, structOf(24, member("hdr", header, 0), member("ktime", u64, 16)), start + 7},
		{"after a header", map[int]Meaning{16: Boottime}, structOf(24, member("hdr", header, 0), member("x", u64, 16)), start + 9},
		{"of the name only", nil, structOf(24, member("hdr", header, 0), member("ktime", u64, 16)), 0},
		{"in an array", map[int]Meaning{0: Ktime, 8: Ktime}, structOf(24, member("all", arrayOf(u64, 2), 0), member("x", u64, 16)), 0},
		{"a duration", map[int]Meaning{8: Nanoseconds}, structOf(24, member("hdr", header, 0), member("x", u64, 16)), 0},
	} {
		p := codecOf(t, tt.typ, Options{Meanings: tt.known}).Printer(PrintOptions{Host: testHost})
		if got, ok := p.Time(record); got != tt.want || ok != (tt.want != 0) {
			t.Errorf("%s: %d, %t, want %d", tt.rule, got, ok, tt.want)
		}
	}
}
