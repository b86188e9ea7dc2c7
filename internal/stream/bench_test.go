package stream

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/clock"
)

// eventType is a type of 104 bytes and 7 fields, with its own time.
func eventType(b *testing.B) (*decode.Set, decode.PrintOptions) {
	b.Helper()
	u32, char := &btf.Int{Name: "u32", Size: 4}, &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	event := &btf.Struct{Name: "event", Size: 104}
	for _, f := range []struct {
		name string
		typ  btf.Type
		off  btf.Bits
	}{
		{"ktime", u64, 0}, {"pid", u32, 8}, {"ppid", u32, 12}, {"latency", u64, 16}, {"uid", u32, 24},
		{"comm", &btf.Array{Index: u32, Type: char, Nelems: 16}, 28}, {"filename", &btf.Array{Index: u32, Type: char, Nelems: 60}, 44},
	} {
		event.Members = append(event.Members, btf.Member{Name: f.name, Type: f.typ, Offset: f.off * 8})
	}
	set, err := decode.NewCases([]decode.Case{{Type: event, Options: decode.Options{Meanings: map[int]decode.Meaning{0: decode.Ktime}}}})
	if err != nil {
		b.Fatal(err)
	}
	var clocks clock.Clocks
	return set, decode.PrintOptions{Host: decode.Host{Time: func(_ decode.Meaning, v uint64) (int64, bool) { return clocks.Monotonic(v) }}}
}

// BenchmarkJSON formats a record.
func BenchmarkJSON(b *testing.B) {
	set, print := eventType(b)
	format := NewFormat(JSON, FormatOptions{Types: set, Print: print})
	rec := record(1234567, 123456789, make([]byte, 104)...)
	for i := range 28 {
		rec.Data[i] = byte(i * 7 % 64)
	}
	copy(rec.Data, make([]byte, 8)) // the time
	rec.Data[3] = 7
	copy(rec.Data[28:], "kworker/0:1")
	copy(rec.Data[44:], "/usr/lib/x86_64-linux-gnu/libc.so.6")
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = format(out[:0], rec)
	}
}
