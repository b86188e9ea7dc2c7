package decode

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// tagged is a struct that begins with a tag of type enum.
func tagged(name string, tag btf.Type, size uint32) *btf.Struct {
	return &btf.Struct{Name: name, Size: size, Members: []btf.Member{member("type", tag, 0)}}
}

func plain(name string, size uint32) *btf.Struct {
	return &btf.Struct{Name: name, Size: size, Members: []btf.Member{member("data", arrayOf(u8, size), 0)}}
}

func TestSet(t *testing.T) {
	tag := &btf.Enum{Name: "type", Size: 4, Values: []btf.EnumValue{{Name: "FORK_EVENT", Value: 1}, {Name: "exec_event", Value: 2}, {Name: "LAST", Value: 3}}}
	flexible := structOf(4, member("n", u32, 0), member("a", arrayOf(char, 0), 4))
	type records map[string]string // record to the name of its type, "" if it has none
	for _, test := range []struct {
		name  string
		types []btf.Type
		want  records
	}{
		{"one type is every record's", []btf.Type{plain("a", 4)}, records{"": "a", "12345": "a"}},
		{"an enum that names the types", []btf.Type{tagged("exec_event", tag, 8), tagged("fork_event", tag, 8)},
			records{"\x01\x00\x00\x00....": "fork_event", "\x02\x00\x00\x00": "exec_event", "\x03\x00\x00\x00": "", "\x02\x00\x00": "", "": ""}},
		{"different lengths", []btf.Type{plain("a", 4), plain("b", 8)}, records{"1234": "a", "12345678": "b", "12345": "", "": ""}},
		{"equal lengths", []btf.Type{plain("a", 4), plain("b", 4)}, nil},
		{"a flexible type", []btf.Type{plain("a", 8), flexible}, nil},
		{"an enum that names one of two", []btf.Type{tagged("exec_event", tag, 8), tagged("other", tag, 8)}, nil},
		{"none", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, err := NewSet(test.types...)
			if test.want == nil {
				if !errors.Is(err, ErrAmbiguous) {
					t.Errorf("NewSet: %v, want ErrAmbiguous", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkSet(t, set, test.want)
		})
	}
}

func checkSet(t *testing.T, set *Set, want map[string]string) {
	t.Helper()
	for record, name := range want {
		d, err := set.Codec([]byte(record))
		switch {
		case name == "" && !errors.Is(err, ErrNoMatch):
			t.Errorf("record %q: %v, want ErrNoMatch", record, err)
		case name != "" && (err != nil || d.Name() != name):
			t.Errorf("record %q: %v, %v, want %s", record, d, err, name)
		}
	}
}

func TestFind(t *testing.T) {
	builder, err := btf.NewBuilder([]btf.Type{
		plain("exec_event", 8), plain("exit_event", 8), plain("connection", 8),
		plain("twice", 4), &btf.Typedef{Name: "twice", Type: u64},
		&btf.Fwd{Name: "forward"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := builder.Spec()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"exec_event":        "",
		"struct exec_event": "",
		"struct twice":      "",
		"typedef twice":     "",
		"union exec_event":  `find type "union exec_event": not found (near: exec_event, exit_event)`,
		"exec_evnt":         `find type "exec_evnt": not found (near: exec_event, exit_event)`,
		"event":             `find type "event": not found (near: exec_event, exit_event)`,
		"forward":           `find type "forward": not found`,
		"":                  `find type "": not found`,
		"twice":             `find type "twice": there are 2 such types: struct twice of 4 bytes, typedef twice of 8 bytes`,
	} {
		typ, err := Find(spec, name)
		switch {
		case want == "" && (err != nil || typ == nil):
			t.Errorf("Find(%q): %v", name, err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("Find(%q): %v\nwant %s", name, err, want)
		}
	}
}
