package stream

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/decode"
)

// stacked implements Extras: it adds the length of each record.
type stacked struct{}

func (stacked) AppendText(dst, record []byte) []byte {
	return fmt.Appendf(dst, "    %d\n", len(record))
}
func (stacked) AppendJSON(dst, record []byte) []byte { return fmt.Appendf(dst, `,"n":%d`, len(record)) }

var (
	u16 = &btf.Int{Name: "u16", Size: 2}
	u64 = &btf.Int{Name: "u64", Size: 8}
)

// structOf returns a struct of fields of one type.
func structOf(name string, t btf.Type, fields ...string) *btf.Struct {
	size, _ := btf.Sizeof(t)
	s := &btf.Struct{Name: name, Size: uint32(len(fields) * size)}
	for i, f := range fields {
		s.Members = append(s.Members, btf.Member{Name: f, Type: t, Offset: btf.Bits(i * size * 8)})
	}
	return s
}

func setOf(t *testing.T, types ...btf.Type) *decode.Set {
	t.Helper()
	set, err := decode.NewSet(types...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// readAt is when the records of the tests were read.
var readAt = time.Date(2026, 1, 2, 3, 4, 5, 6007, time.UTC).UnixNano()

func record(seq, pos uint64, data ...byte) *Record {
	r := &Record{Seq: seq, Time: readAt}
	r.Pos, r.Data = pos, data
	return r
}

func TestFormats(t *testing.T) {
	event := structOf("event", u16, "a", "b")
	types := setOf(t, event)
	guessed, err := decode.NewCases([]decode.Case{{Type: event, Options: decode.Options{KnownBy: "reconstructed"}}})
	if err != nil {
		t.Fatal(err)
	}
	known, unknown := record(7, 32, 1, 0, 2, 0), record(8, 48, 'h')
	const text, json = "2026-01-02T03:04:05.000006 ", `,"time":"2026-01-02T03:04:05.000006007Z",`
	for _, tt := range []struct {
		name   string
		types  *decode.Set
		extras Extras
		want   string
	}{
		{Text, types, nil, text + "event a=1 b=2\n" + text + "pos=48 len=1  68  |h|\n"},
		{Text, guessed, nil, text + "event(reconstructed) a=1 b=2\n" + text + "pos=48 len=1  68  |h|\n"},
		{Text, nil, stacked{}, text + "pos=32 len=4  01 00 02 00  |....|\n    4\n" + text + "pos=48 len=1  68  |h|\n    1\n"},
		{JSON, types, nil, `{"seq":7,"pos":32,"len":4` + json + `"type":"event","data":{"a":1,"b":2}}` + "\n" + `{"seq":8,"pos":48,"len":1` + json + `"hex":"68"}` + "\n"},
		{JSON, guessed, nil, `{"seq":7,"pos":32,"len":4` + json + `"type":"event","known_by":"reconstructed","data":{"a":1,"b":2}}` + "\n" + `{"seq":8,"pos":48,"len":1` + json + `"hex":"68"}` + "\n"},
		{JSON, nil, stacked{}, `{"seq":7,"pos":32,"len":4` + json + `"hex":"01000200","n":4}` + "\n" + `{"seq":8,"pos":48,"len":1` + json + `"hex":"68","n":1}` + "\n"},
		{Hex, types, nil, "01000200\n68\n"},
		{Raw, types, nil, "\x04\x00\x00\x00\x01\x00\x02\x00\x01\x00\x00\x00h"},
	} {
		format := NewFormat(tt.name, FormatOptions{Types: tt.types, Extras: tt.extras})
		if diff := cmp.Diff(tt.want, string(format(format(nil, known), unknown))); diff != "" {
			t.Errorf("%s, -want +got:\n%s", tt.name, diff)
		}
	}
}

func TestRecordsWithoutATime(t *testing.T) {
	rec := record(1, 0, 'h')
	rec.Time = 0
	for name, want := range map[string]string{Text: "pos=0 len=1  68  |h|\n", JSON: `{"seq":1,"pos":0,"len":1,"hex":"68"}` + "\n"} {
		if got := string(NewFormat(name, FormatOptions{})(nil, rec)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestTheTimeOfARecordIsItsOwn(t *testing.T) {
	host := decode.Host{Time: func(_ decode.Meaning, v uint64) (int64, bool) { return readAt - int64(v), v < 10 }}
	types, err := decode.NewCases([]decode.Case{{
		Type:    structOf("event", u64, "start_time", "ktime"),
		Options: decode.Options{Meanings: map[int]decode.Meaning{8: decode.Ktime}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	o := FormatOptions{Types: types, Print: decode.PrintOptions{Host: host, Int64Strings: true}}
	for ktime, want := range map[byte]string{7: "2026-01-02T03:04:05.000006000Z", 99: "2026-01-02T03:04:05.000006007Z", 0: "2026-01-02T03:04:05.000006007Z"} {
		rec := record(1, 0, append(make([]byte, 8), ktime, 0, 0, 0, 0, 0, 0, 0)...)
		line := fmt.Sprintf(`{"seq":"1","pos":"0","len":16,"time":"%s","type":"event","data":{"start_time":"0","ktime":"%d"}}`, want, ktime)
		if got := string(NewFormat(JSON, o)(nil, rec)); got != line+"\n" {
			t.Errorf("got %s, want %s", got, line)
		}
	}
	o.Types = setOf(t, structOf("event", u64, "start_time", "ktime")) // a name is not enough
	want := `{"seq":"1","pos":"0","len":16,"time":"2026-01-02T03:04:05.000006007Z","type":"event","data":{"start_time":"0","ktime":"7"}}` + "\n"
	if got := string(NewFormat(JSON, o)(nil, record(1, 0, append(make([]byte, 8), 7, 0, 0, 0, 0, 0, 0, 0)...))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDumps(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcde\x1b"), 6)
	const address, line = "    00000000  ", "30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 1b  |0123456789abcde.|\n"
	var lines []string
	for i := range 6 {
		lines = append(lines, strings.Replace(address, "00  ", fmt.Sprintf("%x0  ", i), 1)+line)
	}
	for _, tt := range []struct {
		data []byte
		full bool
		want string
	}{
		{nil, false, "\n"},
		{[]byte("hello, w\xff"), false, "  68 65 6c 6c 6f 2c 20 77  ff  |hello, w.|\n"},
		{long[:16], false, "  " + line},
		{long[:17], false, "\n" + lines[0] + "    00000010  30" + strings.Repeat(" ", 48) + "|0|\n"},
		{long[:80], false, "\n" + strings.Join(lines[:5], "")},
		{long, false, "\n" + strings.Join(lines[:4], "") + "    ... 32 more bytes (--full)\n"},
		{long, true, "\n" + strings.Join(lines, "")},
	} {
		w := textWriter{full: tt.full, hint: " (--full)"}
		if diff := cmp.Diff(tt.want, string(w.appendDump(nil, tt.data))); diff != "" {
			t.Errorf("%d bytes, -want +got:\n%s", len(tt.data), diff)
		}
	}
}

func TestTables(t *testing.T) {
	one := structOf("one", u16, "pid", "x")
	two := structOf("two", u64, "pid", "comm")
	a, b, c := record(1, 0, 1, 0, 2, 0), record(2, 8, append(make([]byte, 8), 9, 0, 0, 0, 0, 0, 0, 0)...), record(3, 32, 'h')
	const at = "2026-01-02T03:04:05.000006  "
	for _, tt := range []struct {
		name   string
		types  []btf.Type
		fields []string
		width  int
		want   string
	}{
		{"of one type", []btf.Type{one}, nil, 80, "time             pid    x\n" + at + "1      2\n" + at[:len(at)-1] + "pos=32 len=1  68  |h|\n"},
		{"of a terminal that is too narrow", []btf.Type{one}, nil, 20, at[:len(at)-1] + "one pid=1 x=2\n" + at[:len(at)-1] + "pos=32 len=1  68  |h|\n"},
		{"of chosen fields", []btf.Type{one, two}, []string{"comm", "pid"}, 80,
			"time             type  comm        pid\n" + at + "one   -           1\n" + at + "two   9           0\n" + at[:len(at)-1] + "pos=32 len=1  68  |h|\n"},
		{"no table of several types", []btf.Type{one, two}, nil, 200,
			at[:len(at)-1] + "one pid=1 x=2\n" + at[:len(at)-1] + "two pid=0 comm=9\n" + at[:len(at)-1] + "pos=32 len=1  68  |h|\n"},
	} {
		format := NewFormat(Text, FormatOptions{Types: setOf(t, tt.types...), Width: tt.width, Print: decode.PrintOptions{Fields: tt.fields}})
		got := format(nil, a)
		if len(tt.types) > 1 {
			got = format(got, b)
		}
		if diff := cmp.Diff(tt.want, string(format(got, c))); diff != "" {
			t.Errorf("%s, -want +got:\n%s", tt.name, diff)
		}
	}
}
