package infer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// show lists the members of a struct.
func show(t btf.Type) string {
	var all []string
	for _, m := range membersOf(t) {
		n, _ := btf.Sizeof(m.Type)
		all = append(all, fmt.Sprintf("%s@%d+%d", m.Name, m.Offset/8, n))
	}
	return strings.Join(all, " ")
}

func goStruct(name string, size uint32, members ...btf.Member) located {
	return located{typ: &btf.Struct{Name: name, Size: size, Members: members}, in: "the DWARF of x"}
}

// Bytes of a reconstructed record without a name get the names of the fields of the struct that reads them.
func TestFieldsOfTheReader(t *testing.T) {
	pid, code, comm := member("Pid", u32, 0), member("Code", u32, 4), member("Comm", array(u8, 16), 16)
	exit := member("ExitTime", u64, 8)
	for _, tt := range []struct {
		rule   string
		found  []located
		want   string // of at_8
		writes []recordflow.Write
	}{
		{"one field", []located{goStruct("main.Event", 32, pid, code, exit, comm)}, "exit_time@8+8", nil},
		{"two fields", []located{goStruct("main.Event", 32, pid, code, member("SrcIP", u32, 8), member("DstIP", u32, 12), comm)}, "src_ip@8+4 dst_ip@12+4", nil},
		{"padding after it", []located{goStruct("main.Event", 32, pid, code, member("CPU", u32, 8), member("_", u32, 12), comm)}, "cpu@8+4", nil},
		{"padding before it", []located{goStruct("main.Event", 32, pid, code, member("_", u32, 8), member("CPU", u32, 12), comm)}, "", nil},
		{"names of its own for others", []located{goStruct("main.Event", 32, pid, member("Kind", u32, 4), exit, comm)}, "exit_time@8+8", nil},
		{"only one field alike", []located{goStruct("main.Event", 32, pid, member("Kind", u32, 4), exit, member("Name", array(u8, 16), 16))}, "", nil},
		{"the struct that is most alike", []located{goStruct("main.Other", 32, pid, code, member("Start", u64, 8), member("Name", array(u8, 16), 16)), goStruct("main.Event", 32, pid, code, exit, comm)}, "exit_time@8+8", nil},
		{"two that are equally alike", []located{goStruct("main.Other", 32, pid, code, member("Start", u64, 8), comm), goStruct("main.Event", 32, pid, code, exit, comm)}, "", nil},
		{"the same fields twice", []located{goStruct("a.Event", 32, pid, code, exit, comm), goStruct("b.Event", 32, pid, code, exit, comm)}, "exit_time@8+8", nil},
		{"a field of another name that exists", []located{goStruct("main.Event", 32, pid, code, member("Comm", u64, 8), member("Code", array(u8, 16), 16))}, "", nil},
		{"stores across fields", []located{goStruct("main.Event", 32, member("Pid", u32, 0), member("Code", u32, 4), member("A", u32, 8), member("B", u32, 12), comm)}, "", []recordflow.Write{{Off: 10, Size: 4}}},
		{"a field that begins before", []located{goStruct("main.Event", 32, pid, member("Code", u64, 4), member("B", u32, 12), comm)}, "", nil},
		{"none", nil, "", nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			record := &btf.Struct{Name: "event", Size: 32, Members: []btf.Member{
				member("pid", u32, 0), member("code", u32, 4), member("at_8", array(u8, 8), 8), member("comm", array(u8, 16), 16),
			}}
			s := &Site{Size: 32, Type: record, Certainty: Likely, KnownBy: reconstructed, flow: &recordflow.Site{Min: 32, Max: 32, Writes: tt.writes}}
			if !s.lacksNames() {
				t.Fatal("all have names")
			}
			s.nameBytes(tt.found)
			want := "pid@0+4 code@4+4 at_8@8+8 comm@16+16"
			if tt.want != "" {
				want = strings.Replace(want, "at_8@8+8", tt.want, 1)
			}
			if diff := cmp.Diff(want, show(s.Type)); diff != "" {
				t.Error(diff)
			}
			if said := strings.Contains(s.Why, "in the DWARF of x"); said != (tt.want != "") || s.Certainty != Likely || show(record) != "pid@0+4 code@4+4 at_8@8+8 comm@16+16" {
				t.Errorf("%s, %v, %s", s.Why, s.Certainty, show(record))
			}
		})
	}
}

// Structs for records of unknown type are named, not taken.
func TestStructsAreOffered(t *testing.T) {
	event, other := goStruct("main.bpfEvent", 8, member("A", u64, 0)), goStruct("main.config", 8, member("A", u64, 0))
	for _, tt := range []struct {
		rule  string
		lacks string
		found []located
		want  string
	}{
		{"an event", "", []located{event, other}, "they can be what the ring's reader has: --type main.bpfEvent, in the DWARF of x"},
		{"the name in the line", "config", []located{other}, "they can be what the ring's reader has: --type main.config, in the DWARF of x"},
		{"another name", "", []located{other}, ""},
		{"stores do not fit", "", []located{goStruct("main.event", 8, member("A", u32, 0), member("B", u32, 4))}, ""},
	} {
		s := &Site{Size: 8, lacks: tt.lacks, flow: &recordflow.Site{Min: 8, Max: 8, Writes: []recordflow.Write{{Off: 2, Size: 4}}}}
		if tt.want != "" {
			s.flow.Writes = nil
		}
		s.offer(tt.found)
		if s.Why != tt.want || s.Type != nil {
			t.Errorf("%s: %q, want %q", tt.rule, s.Why, tt.want)
		}
	}
}

// encoding/binary reads fields without padding, and no strings.
func TestBinaryLayout(t *testing.T) {
	text := &btf.Struct{Name: "string", Size: 16, Members: []btf.Member{member("str", &btf.Pointer{Target: u32}, 0), member("len", u64, 8)}}
	inner := func(at uint32) btf.Type {
		return &btf.Struct{Name: "main.inner", Size: 8 + at, Members: []btf.Member{member("A", u32, 0), member("B", u32, 4+at)}}
	}
	for _, tt := range []struct {
		rule string
		typ  located
		want string
	}{
		{"padding", goStruct("main.E", 16, member("A", u32, 0), member("B", u64, 8)), "A@0+4 B@4+8"},
		{"a struct", goStruct("main.E", 24, member("A", u64, 0), member("B", inner(0), 8), member("C", u64, 16)), "A@0+8 B@8+8 C@16+8"},
		{"a struct with padding", goStruct("main.E", 24, member("A", u64, 0), member("B", inner(4), 8)), ""},
		{"a string", goStruct("main.E", 24, member("A", u64, 0), member("B", text, 8)), ""},
		{"no struct", located{typ: u32}, ""},
	} {
		packed, _ := binaryLayout(tt.typ.typ)
		got := ""
		if packed != nil {
			got = show(packed)
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestNamesOfGoInC(t *testing.T) {
	for name, want := range map[string]string{"Pid": "pid", "ExitCode": "exit_code", "SrcIP": "src_ip", "PIDNs": "pid_ns", "A": "a", "Daddr_v6": "daddr_v6", "Src_Ip": "src_ip", "Ts2": "ts2"} {
		if got := snake(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
