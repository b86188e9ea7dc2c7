package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// codecOf compiles t, or fails the test.
func codecOf(t testing.TB, typ btf.Type, o Options) *Codec {
	t.Helper()
	d, err := NewWith(typ, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// checkOutput decodes record to JSON, text and Go values, and encodes the JSON again.
func checkOutput(t *testing.T, d *Codec, record, wantJSON, wantText string) {
	t.Helper()
	out, err := d.AppendJSON(nil, []byte(record))
	if err != nil || string(out) != wantJSON || !json.Valid(out) {
		t.Errorf("%q: %s, %v\nwant %s", record, out, err, wantJSON)
	}
	text, err := d.AppendText(nil, []byte(record))
	if err != nil || string(text) != wantText {
		t.Errorf("%q: %s, %v\nwant %s", record, text, err, wantText)
	}
	back, err := d.AppendRecord(nil, out, 1<<20)
	if err != nil || len(back) < len(record) {
		t.Fatalf("%s: encoded as %q, %v", out, back, err)
	}
	if again, err := d.AppendJSON(nil, back[:len(record)]); string(again) != string(out) {
		t.Errorf("%s: encoded and decoded again as %s, %v", out, again, err)
	}
	if err := sameFields(d, []byte(record), out); err != nil {
		t.Errorf("%q: %v", record, err)
	}
}

// sameFields returns an error unless the Go values of a record have the fields of its JSON.
func sameFields(d *Codec, record, text []byte) error {
	v, err := d.Select().Values(record)
	if err != nil {
		return err
	}
	var shown any
	if err := json.Unmarshal(text, &shown); err != nil {
		return err
	}
	if m, ok := shown.(map[string]any); ok && d.rest != nil {
		delete(m, d.rest.name)
	}
	if got, want := fieldNames(v), fieldNames(shown); !reflect.DeepEqual(got, want) {
		return fmt.Errorf("values %v, in JSON %v", got, want)
	}
	return nil
}

// fieldNames returns v with nil in place of all values that have no fields.
func fieldNames(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	names := map[string]any{}
	for k, v := range m {
		if names[k] = fieldNames(v); names[k] != nil && len(names[k].(map[string]any)) == 0 {
			delete(names, k)
		}
	}
	return names
}

func TestRecordsCanEndAnywhere(t *testing.T) {
	inner := structOf(8, member("x", u16, 0), member("y", arrayOf(u16, 2), 2), member("z", u8, 6))
	union := &btf.Union{Size: 4, Members: []btf.Member{member("long", u32, 0), member("short", u16, 0)}}
	event := structOf(32, member("a", u32, 0), member("in", inner, 4), member("", union, 12), member("s", arrayOf(char, 4), 16),
		bitfield("b", u8, 160, 3), bitfield("c", u8, 163, 7), member("p", arrayOf(inner, 1), 24))
	d := codecOf(t, event, Options{Prefix: true})
	record := "\x01\x00\x00\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00\x00\x00abcd\xff\xff\x00\x00\x07\x00\x08\x00\x09\x00\x0a\x00"
	for n, want := range map[int][2]string{
		4:  {`{"a":1}`, `a=1`},
		5:  {`{"a":1}`, `a=1`},
		6:  {`{"a":1,"in":{"x":2}}`, `a=1 in={x=2}`},
		7:  {`{"a":1,"in":{"x":2,"y":[]}}`, `a=1 in={x=2 y=[]}`},
		8:  {`{"a":1,"in":{"x":2,"y":[3]}}`, `a=1 in={x=2 y=[3]}`},
		11: {`{"a":1,"in":{"x":2,"y":[3,4],"z":5}}`, `a=1 in={x=2 y=[3,4] z=5}`},
		14: {`{"a":1,"in":{"x":2,"y":[3,4],"z":5},"short":6}`, `a=1 in={x=2 y=[3,4] z=5} short=6`},
		18: {`{"a":1,"in":{"x":2,"y":[3,4],"z":5},"long":6,"short":6,"s":"ab"}`, `a=1 in={x=2 y=[3,4] z=5} long=6 short=6 s=ab`},
		21: {`{"a":1,"in":{"x":2,"y":[3,4],"z":5},"long":6,"short":6,"s":"abcd","b":7}`,
			`a=1 in={x=2 y=[3,4] z=5} long=6 short=6 s=abcd b=7`},
		31: {`{"a":1,"in":{"x":2,"y":[3,4],"z":5},"long":6,"short":6,"s":"abcd","b":7,"c":127,"p":[]}`,
			`a=1 in={x=2 y=[3,4] z=5} long=6 short=6 s=abcd b=7 c=127 p=[]`},
		32: {`{"a":1,"in":{"x":2,"y":[3,4],"z":5},"long":6,"short":6,"s":"abcd","b":7,"c":127,"p":[{"x":7,"y":[8,9],"z":10}]}`,
			`a=1 in={x=2 y=[3,4] z=5} long=6 short=6 s=abcd b=7 c=127 p=[{x=7 y=[8,9] z=10}]`},
	} {
		checkOutput(t, d, record[:n], want[0], want[1])
	}
	for n := range 4 {
		if _, err := d.AppendJSON(nil, []byte(record[:n])); !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes, less than a field: %v", n, err)
		}
	}
	if _, err := codecOf(t, event, Options{}).AppendJSON(nil, []byte(record[:20])); !errors.Is(err, ErrShort) {
		t.Errorf("a record that cannot end anywhere: %v", err)
	}
}

func TestColumnsOfShortRecordsAlign(t *testing.T) {
	d := codecOf(t, structOf(16, member("a", u32, 0), member("b", u32, 4), member("c", u64, 8)), Options{Prefix: true})
	printer := d.Printer(PrintOptions{})
	for record, want := range map[string]string{
		string(le(uint32(1000), uint32(1), uint64(1))): "a=1000 b=1 c=1",
		string(le(uint32(1000), uint32(1))):            "a=1000 b=1",
	} {
		got, err := printer.AppendText(nil, []byte(record))
		if err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	if got, _ := printer.AppendText(nil, le(uint32(1), uint32(1))); string(got) != "a=1    b=1" {
		t.Errorf("%q", got)
	}
}

func TestBytesAfterAHeader(t *testing.T) {
	header := structOf(8, member("kind", u32, 0), member("n", u16, 4))
	d := codecOf(t, header, Options{Header: true})
	checkOutput(t, d, "\x01\x00\x00\x00\x02\x00\x00\x00", `{"kind":1,"n":2}`, `kind=1 n=2`)
	checkOutput(t, d, "\x01\x00\x00\x00\x02\x00\x00\x00\xab\x0c", `{"kind":1,"n":2,"rest":"ab0c"}`, `kind=1 n=2 rest=hex:ab0c`)
	checkOutput(t, codecOf(t, header, Options{Header: true, Prefix: true}), "\x01\x00\x00\x00\x02", `{"kind":1}`, `kind=1`)
	checkOutput(t, codecOf(t, structOf(1, member("rest", u8, 0)), Options{Header: true}), "\x01\x02", `{"rest":1,"rest_":"02"}`, `rest=1 rest_=hex:02`)
	checkOutput(t, codecOf(t, structOf(0), Options{Header: true}), "\x01", `{"rest":"01"}`, `rest=hex:01`)
	flexible := structOf(1, member("n", u8, 0), member("s", arrayOf(char, 0), 1))
	checkOutput(t, codecOf(t, flexible, Options{Header: true}), "\x01ab", `{"n":1,"s":"ab"}`, `n=1 s=ab`)
	for rest, want := range map[string]string{
		"\xab\x0c":                 "kind=1 n=2 rest=hex:ab0c",
		"/etc/passwd\x00":          "kind=1 n=2 rest=/etc/passwd",
		strings.Repeat("\xff", 40): "kind=1 n=2 rest=hex:" + strings.Repeat("ff", 16) + "...(+24)",
	} {
		got, err := d.Printer(PrintOptions{}).AppendText(nil, []byte("\x01\x00\x00\x00\x02\x00\x00\x00"+rest))
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v, want %s", rest, got, err, want)
		}
	}
	if _, err := NewWith(u32, Options{Header: true}); !errors.Is(err, errHeader) {
		t.Errorf("a number as a header: %v", err)
	}
	for _, text := range []string{`{"rest":1}`, `{"rest":"0"}`, `{"rest":"xy"}`, `{"rest":"00","rest":"00"}`} {
		if _, err := d.AppendRecord(nil, []byte(text), 100); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := d.AppendRecord(nil, []byte(`{"rest":"00"}`), 8); !errors.Is(err, ErrTooLong) {
		t.Errorf("a rest beyond the limit: %v", err)
	}
}

// call is a struct with a union that has an arm for each of names.
func call(kind btf.Type, names ...string) *btf.Struct {
	u := &btf.Union{Size: 8}
	for i, name := range names {
		u.Members = append(u.Members, member(name, structOf(uint32(2*i+2), member("v", u16, uint32(2*i))), 0))
	}
	return structOf(12, member("kind", kind, 0), member("u", u, 4))
}

func enumOf(names ...string) *btf.Enum {
	e := &btf.Enum{Name: "kind", Size: 4}
	for i, name := range names {
		e.Values = append(e.Values, btf.EnumValue{Name: name, Value: uint64(i)})
	}
	return e
}

func TestAnEnumTellsTheMemberOfAUnion(t *testing.T) {
	record := "\x01\x00\x00\x00\x05\x00\x06\x00\x07\x00\x08\x00"
	both := `{"kind":"%s","u":{"%s":{"v":5},"%s":{"v":6}}}`
	for _, test := range []struct {
		name        string
		enumerators []string
		members     []string
		one         bool
	}{
		{"words that all enumerators have", []string{"EVENT_EXEC", "EVENT_EXIT", "EVENT_MAX"}, []string{"exec", "exit"}, true},
		{"words that all members have", []string{"EXEC", "EXIT"}, []string{"exec_event", "exit_event"}, true},
		{"words at the end", []string{"EXEC_EVENT", "EXIT_EVENT", "LAST"}, []string{"exec", "exit"}, true},
		{"the same words before others", []string{"OPEN", "CLOSE", "FILE_OPEN"}, []string{"open", "close"}, true},
		{"other names", []string{"EVENT_EXEC", "EVENT_EXIT"}, []string{"exec", "end"}, false},
		{"two enumerators for a member", []string{"TCP_OPEN", "CLOSE", "UDP_OPEN"}, []string{"open", "close"}, false},
		{"two members for an enumerator", []string{"NONE", "FILE_OPEN"}, []string{"file", "open"}, false},
	} {
		d := codecOf(t, call(enumOf(test.enumerators...), test.members...), Options{})
		want := fmt.Sprintf(both, test.enumerators[1], test.members[0], test.members[1])
		if test.one {
			want = fmt.Sprintf(`{"kind":"%s","u":{"%s":{"v":6}}}`, test.enumerators[1], test.members[1])
		}
		if got, err := d.AppendJSON(nil, []byte(record)); string(got) != want {
			t.Errorf("%s: %s, %v\nwant %s", test.name, got, err, want)
		}
	}
}

func TestRecordsShowOneMemberOfAUnion(t *testing.T) {
	d := codecOf(t, call(enumOf("A_ONE", "A_TWO", "A_OTHER"), "one", "two"), Options{})
	checkOutput(t, d, "\x00\x00\x00\x00\x05\x00", `{"kind":"A_ONE","u":{"one":{"v":5}}}`, `kind=A_ONE u={one={v=5}}`)
	checkOutput(t, d, "\x01\x00\x00\x00\x05\x00\x06\x00", `{"kind":"A_TWO","u":{"two":{"v":6}}}`, `kind=A_TWO u={two={v=6}}`)
	checkOutput(t, d, "\x02\x00\x00\x00\x05\x00\x06\x00", `{"kind":"A_OTHER","u":{"one":{"v":5},"two":{"v":6}}}`, `kind=A_OTHER u={one={v=5} two={v=6}}`)
	if _, err := d.AppendJSON(nil, []byte("\x01\x00\x00\x00\x05\x00")); !errors.Is(err, ErrShort) {
		t.Errorf("a record without its member: %v", err)
	}
	if fields := d.Fields(); len(fields) != 3 {
		t.Errorf("%d fields, want those of all members", len(fields))
	}
	all := codecOf(t, d.Type(), Options{Arms: []Arm{}})
	checkOutput(t, all, "\x01\x00\x00\x00\x05\x00\x06\x00", `{"kind":"A_TWO","u":{"one":{"v":5},"two":{"v":6}}}`, `kind=A_TWO u={one={v=5} two={v=6}}`)
}

func TestArms(t *testing.T) {
	arm := func(member int, values ...uint64) Arm {
		return Arm{Tag: Tag{Size: 4, Values: values}, Union: 4, Member: member}
	}
	d := codecOf(t, call(u32, "one", "two", "three"), Options{Arms: []Arm{arm(0, 7, 8), arm(2, 9)}, Prefix: true})
	for record, want := range map[string][2]string{
		"\x07\x00\x00\x00\x05\x00\x06\x00":         {`{"kind":7,"u":{"one":{"v":5}}}`, `kind=7 u={one={v=5}}`},
		"\x08\x00\x00\x00\x05\x00":                 {`{"kind":8,"u":{"one":{"v":5}}}`, `kind=8 u={one={v=5}}`},
		"\x09\x00\x00\x00\x05\x00\x06\x00\x07\x00": {`{"kind":9,"u":{"three":{"v":7}}}`, `kind=9 u={three={v=7}}`},
		"\x09\x00\x00\x00\x05\x00\x06\x00":         {`{"kind":9}`, `kind=9`},
		"\x05\x00\x00\x00\x05\x00\x06\x00":         {`{"kind":5,"u":{"one":{"v":5},"two":{"v":6}}}`, `kind=5 u={one={v=5} two={v=6}}`},
	} {
		checkOutput(t, d, record, want[0], want[1])
	}
	port := arm(0, 7)
	port.Meanings = map[int]Meaning{4: Port}
	d = codecOf(t, d.Type(), Options{Arms: []Arm{port, arm(0, 8), arm(1, 9)}, Meanings: map[int]Meaning{4: HostOrder}})
	checkOutput(t, d, "\x07\x00\x00\x00\x05\x00", `{"kind":7,"u":{"one":{"v":5}}}`, `kind=7 u={one={v=1280}}`)
	checkOutput(t, d, "\x08\x00\x00\x00\x05\x00", `{"kind":8,"u":{"one":{"v":5}}}`, `kind=8 u={one={v=5}}`)
	tag := func(off, size int) Arm { return Arm{Tag: Tag{Off: off, Size: size, Values: []uint64{1}}} }
	for name, arms := range map[string][]Arm{
		"a tag of three bytes": {tag(0, 3)},
		"tags in two places":   {tag(0, 4), tag(4, 4)},
	} {
		if _, err := NewWith(d.Type(), Options{Arms: arms}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Arms of unions and members that the type does not have are ignored.
	odd := codecOf(t, d.Type(), Options{Arms: []Arm{{Tag: Tag{Size: 1, Values: []uint64{7}}, Union: 4, Member: 3}, {Tag: Tag{Size: 1, Values: []uint64{8}}, Union: 99}}})
	checkOutput(t, odd, "\x07\x00\x00\x00\x05\x00\x06\x00\x07\x00", `{"kind":7,"u":{"one":{"v":5},"two":{"v":6},"three":{"v":7}}}`, `kind=7 u={one={v=5} two={v=6} three={v=7}}`)
}

func TestMeaningsThatASetGets(t *testing.T) {
	u16 := &btf.Int{Name: "u16", Size: 2}
	short, long := structOf(2, member("a", u16, 0)), structOf(4, member("a", u16, 0), member("b", u16, 2))
	short.Name, long.Name = "short", "long"
	plain, err := NewSet(short, long)
	if err != nil {
		t.Fatal(err)
	}
	set, err := plain.WithMeanings(func(t btf.Type) map[int]Meaning {
		if t == long {
			return map[int]Meaning{2: Port}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for record, want := range map[string]string{"\x00\x05": "a=1280", "\x00\x05\x00\x05": "a=1280 b=5"} {
		codec, err := set.Codec([]byte(record))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := codec.AppendText(nil, []byte(record)); err != nil || string(got) != want {
			t.Errorf("%q is %s, %v, want %s", record, got, err, want)
		}
	}
}
