package decode_test

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cstruct"
	"github.com/rbtool/rbtool/internal/testenv"
)

// structs returns the structs with the given names in C text.
func structs(tb testing.TB, text string, names ...string) (list []btf.Type) {
	tb.Helper()
	file, err := cstruct.Parse("test.h", text)
	for _, name := range names {
		var typ btf.Type
		if err == nil {
			typ, err = file.Type(name)
		}
		list = append(list, typ)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func setOf(tb testing.TB, types ...btf.Type) *decode.Set {
	tb.Helper()
	set, err := decode.NewSet(types...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// ringOf is a ring with its records.
type ringOf struct {
	decode.Dissected
	records [][]byte
}

// tshark returns what tshark prints of a capture of the rings, with a dissector of them. It fails if that has an error.
func tshark(tb testing.TB, rings []ringOf, args ...string) string {
	tb.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		testenv.SkipWithout(tb, "tshark", err)
	}
	file := capture.AppendSection(nil, capture.Section{})
	var dissected []decode.Dissected
	for i, r := range rings {
		if file, err = capture.AppendRing(file, i, capture.Info{Name: r.Name, Type: ebpf.RingBuf}); err != nil {
			tb.Fatal(err)
		}
		for _, data := range r.records {
			file = capture.AppendRecord(file, capture.Record{Ring: i, Time: time.Unix(1, 0), Data: data})
		}
		dissected = append(dissected, r.Dissected)
	}
	script, err := decode.AppendDissector(nil, dissected...)
	if err != nil {
		tb.Fatal(err)
	}
	lua := filepath.Join(tb.TempDir(), "my.lua")
	if err := os.WriteFile(lua, script, 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"-X", "lua_script:" + lua, "-r", "-"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr, cmd.Dir = bytes.NewReader(file), &stderr, filepath.Dir(lua)
	out, err := cmd.Output()
	said := strings.TrimPrefix(stderr.String(), "Running as user \"root\" and group \"root\". This could be dangerous.\n")
	if err != nil || said != "" || bytes.Contains(out, []byte("Lua Error")) {
		tb.Fatalf("tshark: %v\n%s\n%s", err, said, out)
	}
	return string(out)
}

const allKinds = `
enum kind { KIND_EXEC = 1, KIND_EXIT = 2, KIND_LATE = -1 };
enum big { BIG_ONE = 1, BIG_TWO = 0xf000000000000000 };
struct point { short x; unsigned char y; };
struct all {
	enum kind kind;
	u8 small; bool yes; u16 port; __be16 dport;
	s64 negative; u64 greatest;
	u32 low : 3; s32 middle : 5; u64 wide : 40;
	float single; double real;
	__be32 saddr; struct in6_addr { u8 in6_u[16]; } daddr;
	u8 mac[6]; char comm[16];
	void *ptr; u64 stack[3]; struct point points[2]; struct { u32 inner; } nested;
	u8 raw[4]; s32 ret; u64 latency_ns; enum big big; unsigned __int128 huge;
	union { u32 as_number; u8 as_bytes[4]; };
	u32 args_size; char args[];
};
struct one { u32 v; };`

// A value has the name, type and value in tshark that it has in rbtool.
func TestWiresharkShowsAllKindsOfValues(t *testing.T) {
	if testing.Short() {
		return // in a virtual machine: nothing here depends on the kernel
	}
	all := structs(t, allKinds, "all")[0]
	codec, err := decode.New(all)
	if err != nil {
		t.Fatal(err)
	}
	record, err := codec.AppendRecord(nil, []byte(`{"kind":"KIND_LATE","small":200,"yes":true,"port":80,"dport":47873,
		"negative":-9223372036854775808,"greatest":18446744073709551615,"low":5,"middle":-16,"wide":1099511627775,
		"single":1.5,"real":-0.25,"saddr":16777226,"daddr":{"in6_u":[254,128,0,0,0,0,0,0,0,0,0,0,0,0,0,1]},
		"mac":[2,0,0,0,0,1],"comm":"b\"sh","ptr":"0xffffffff81000000","stack":[1,2,3],"points":[{"x":-1,"y":2},{"x":3,"y":4}],
		"nested":{"inner":7},"raw":[1,2,3,4],"ret":-2,"latency_ns":1500000,"big":"BIG_TWO","huge":"18446744073709551617",
		"as_number":67305985,"args_size":6,"args":"ls\u0000-l\u0000"}`), math.MaxInt32)
	if err != nil {
		t.Fatal(err)
	}
	want := [][2]string{
		{"rbtool.type", "all"}, {"rbtool.ring", "events"},
		{"kind", "4294967295"}, {"small", "200"}, {"yes", "1"}, {"port", "80"}, {"dport", "443"},
		{"negative", "-9223372036854775808"}, {"greatest", "18446744073709551615"},
		{"low", "5"}, {"middle", "-16"}, {"wide", "1099511627775"}, {"single", "1.5"}, {"real", "-0.25"},
		{"saddr", "10.0.0.1"}, {"daddr", "fe80::1"}, {"mac", "02:00:00:00:00:01"}, {"comm", `b"sh`},
		{"ptr", "0xffffffff81000000"}, {"stack", "0x0000000000000001,0x0000000000000002,0x0000000000000003"}, {"points.x", "-1,3"}, {"points.y", "2,4"}, {"nested.inner", "7"},
		{"raw", "01020304"}, {"ret", "-2"}, {"latency_ns", "1500000"}, {"big", "17293822569102704640"},
		{"huge", "0x00000000000000010000000000000001"}, {"as_number", "67305985"}, {"as_bytes", "01020304"}, {"args", "ls -l"},
	}
	args := []string{"-T", "fields", "-E", "separator=/t", "-Y", `rbtool.all && rbtool.all.kind == "KIND_LATE" && rbtool.all.comm contains "sh" && rbtool.all.ret == -2`}
	var values []string
	for i, w := range want {
		if i > 1 {
			want[i][0] = "rbtool.all." + w[0]
		}
		args = append(args, "-e", want[i][0])
		values = append(values, w[1])
	}
	other := setOf(t, structs(t, allKinds, "one")[0])
	out := tshark(t, []ringOf{
		{decode.Dissected{Name: "events", Types: setOf(t, all)}, [][]byte{record, make([]byte, len(record))}},
		{decode.Dissected{Name: "other", Types: other}, [][]byte{{1, 0, 0, 0}}},
	}, args...)
	for i, got := range strings.Split(strings.TrimSuffix(out, "\n"), "\t") {
		if got != values[i] {
			t.Errorf("%s is %q, want %q", want[i][0], got, values[i])
		}
	}
	if strings.Count(out, "\n") != 1 {
		t.Errorf("tshark found %d records:\n%s", strings.Count(out, "\n"), out)
	}
}

// Of a record that is cut anywhere tshark shows what rbtool shows: all fields, those before the cut, or none.
func TestWiresharkShowsShortRecords(t *testing.T) {
	if testing.Short() {
		return // in a virtual machine: nothing here depends on the kernel
	}
	types := structs(t, "struct event { u32 kind; u64 a; u16 n[2]; char name[4]; }; struct loose { u32 kind; u64 a : 60; char name[4]; };", "event", "loose")
	loose, err := decode.NewCases([]decode.Case{{Type: types[1], Options: decode.Options{Prefix: true, Header: true}}})
	if err != nil {
		t.Fatal(err)
	}
	strict := setOf(t, types[0])
	var cut [][]byte
	for n := range 28 {
		cut = append(cut, bytes.Repeat([]byte{'1'}, n))
	}
	out := tshark(t, []ringOf{
		{decode.Dissected{Name: "strict", Types: strict}, cut}, {decode.Dissected{Name: "loose", Types: loose}, cut},
	}, "-T", "fields", "-E", "occurrence=l", "-E", "separator=/t", "-e", "rbtool.short", "-e", "rbtool.event.kind", "-e", "rbtool.event.name", "-e", "rbtool.loose.kind",
		"-e", "rbtool.loose.name", "-e", "rbtool.loose.rest")
	lines := strings.Split(out, "\n")
	codecs := []*decode.Codec{strict.Codecs()[0], loose.Codecs()[0]}
	for i, line := range lines[:2*len(cut)] {
		record, codec := cut[i%len(cut)], codecs[i/len(cut)]
		shown, err := codec.AppendJSON(nil, record)
		fields := strings.Split(line, "\t")
		kind, name := fields[1]+fields[3], fields[2]+fields[4]
		if (err != nil) != (fields[0] != "") || bytes.Contains(shown, []byte("kind")) != (kind != "") ||
			bytes.Contains(shown, []byte(`"name":"1`)) != (name != "") || bytes.Contains(shown, []byte("rest")) != (fields[5] != "") {
			t.Errorf("%d bytes are %q, for rbtool %s %v", len(record), line, shown, err)
		}
	}
}

func TestWiresharkChoosesTypesAndMembersOfUnions(t *testing.T) {
	if testing.Short() {
		return // in a virtual machine: nothing here depends on the kernel
	}
	types := structs(t, `enum kind { KIND_OPEN = 1, KIND_EXEC, KIND_EXIT };
		struct open_event { enum kind kind; u32 fd; };
		struct exec { u32 pid; }; struct exit { u32 code; };
		struct event { enum kind kind; union { struct exec exec; struct exit exit; }; };`, "open_event", "event")
	set, err := decode.NewCases([]decode.Case{
		{Type: types[1]},
		{Type: types[0], Tags: []decode.Tag{{Size: 4, Values: []uint64{1}}}},
		{Tags: []decode.Tag{{Size: 4, Values: []uint64{9}}}, Max: 8},
		{Type: types[0], Tags: []decode.Tag{{Size: 4, Values: []uint64{9}}, {Off: 4, Size: 4, Values: []uint64{9}}}, Min: 12},
	})
	if err != nil {
		t.Fatal(err)
	}
	records := [][]byte{
		{1, 0, 0, 0, 7, 0, 0, 0}, {2, 0, 0, 0, 7, 0, 0, 0}, {3, 0, 0, 0, 7, 0, 0, 0}, {4, 0, 0, 0, 7, 0, 0, 0},
		{9, 0, 0, 0, 7, 0, 0, 0}, {9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0},
	}
	got := tshark(t, []ringOf{{decode.Dissected{Types: set}, records}}, "-T", "fields", "-E", "separator=,",
		"-e", "rbtool.type", "-e", "rbtool.open_event.fd", "-e", "rbtool.event.exec.pid", "-e", "rbtool.event.exit.code")
	want := "open_event,7,,\nevent,,7,\nevent,,,7\nevent,,7,7\n,,,\nopen_event,9,,\n"
	if got != want {
		t.Errorf("tshark shows\n%s, want\n%s", got, want)
	}
}

// The names in types come from strangers.
func TestNamesInADissectorAreOnlyText(t *testing.T) {
	if testing.Short() {
		return // in a virtual machine: nothing here depends on the kernel
	}
	var rings []ringOf
	hostile := []string{
		"\"}} os.execute('touch caught') --", "]] os.execute('touch caught')", "\\", "\\\"", "a\nos.execute('touch caught')", "\x1b[2J", "%s%n", "", "ünï", "\u202e",
		"rbtool.ring", "ring", "cut", strings.Repeat("long", 1000), "end", "-", "v", "pid", "pid",
	}
	for i, name := range hostile {
		enum := &btf.Enum{Name: name, Size: 4, Values: []btf.EnumValue{{Name: name, Value: 1}}}
		typ := &btf.Struct{Name: name, Size: 20, Members: []btf.Member{
			{Name: name, Type: enum}, {Name: "v", Type: &btf.Int{Name: name, Size: 4}, Offset: 32},
			{Name: "s", Type: &btf.Array{Type: &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}, Nelems: 12}, Offset: 64},
		}}
		if i == len(hostile)-1 {
			typ.Members[0].Type = &btf.Float{Size: 4}
		}
		rings = append(rings, ringOf{decode.Dissected{Name: name, Types: setOf(t, typ)}, [][]byte{append([]byte{1, 0, 0, 0, 2, 0, 0, 0}, "\x1b[2J\u202e\u009b"...)}})
	}
	dir := t.TempDir()
	t.Chdir(dir)
	out := tshark(t, rings, "-V")
	if n := strings.Count(out, "    v: 2\n"); n != len(hostile) {
		t.Errorf("%d of %d records are decoded:\n%s", n, len(hostile), out)
	}
	if _, err := os.Stat("caught"); err == nil {
		t.Error("a name was executed")
	}
	for _, c := range tshark(t, rings) {
		if c < ' ' && c != '\n' || c == '\u202e' {
			t.Errorf("tshark prints %q", c)
		}
	}
	types := []btf.Type{&btf.Struct{Name: "many", Size: 1 << 17}}
	for i := range 1 << 15 {
		types[0].(*btf.Struct).Members = append(types[0].(*btf.Struct).Members, btf.Member{Name: "m", Type: &btf.Int{Size: 4}, Offset: btf.Bits(i * 32)})
	}
	if script, err := decode.AppendDissector([]byte("x"), decode.Dissected{Types: setOf(t, types...)}); err == nil || string(script) != "x" {
		t.Errorf("a dissector of 32768 fields: %d bytes, %v", len(script), err)
	}
}
