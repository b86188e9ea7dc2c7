package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// at is a tag of one byte at off.
func at(off int, values ...uint64) []Tag { return []Tag{{Off: off, Size: 1, Values: values}} }

func TestCases(t *testing.T) {
	a, b := plain("a", 2), plain("b", 4)
	type records map[string]string
	for _, test := range []struct {
		name  string
		cases []Case
		want  records
	}{
		{"a tag anywhere", []Case{{Type: a, Tags: at(1, 'a')}, {Type: b, Tags: at(1, 'b')}},
			records{".a": "a", "aab": "a", "ab": "b", "..": "", "a": "", "": ""}},
		{"several values", []Case{{Type: a, Tags: at(0, 'a', 'A', 'a')}, {Type: b, Tags: at(0, 'b')}},
			records{"a": "a", "A": "a", "b": "b", "B": ""}},
		{"a tag of eight bytes", []Case{{Type: a, Tags: []Tag{{Off: 1, Size: 8, Values: []uint64{0x3837363534333231}}}}},
			records{".12345678": "a", ".1234567": "", ".12345679": ""}},
		{"two tags", []Case{{Type: a, Tags: append(at(0, 'a'), at(1, 'a')...)}, {Type: b, Tags: append(at(0, 'a'), at(1, 'b')...)}},
			records{"aa": "a", "ab": "b", "ac": "", "ba": ""}},
		{"a tag given twice", []Case{{Type: a, Tags: append(at(0, 'a', 'b'), at(0, 'b', 'c')...)}},
			records{"a": "", "b": "a", "c": ""}},
		{"a tag without values", []Case{{Type: a, Tags: at(0)}}, records{"\x00": "", "": ""}},
		{"ranges of lengths", []Case{{Type: a, Max: 2}, {Type: b, Min: 4}},
			records{"": "a", "12": "a", "123": "", "1234": "b", "12345": "b"}},
		{"lengths", []Case{{Type: a, Min: 2, Max: 2}, {Type: b, Min: 4, Max: 4}}, records{"12": "a", "1234": "b", "123": ""}},
		{"a tag and all other records", []Case{{Type: a}, {Type: b, Tags: at(0, 'b')}}, records{"": "a", "a": "a", "b": "b"}},
		{"a narrower range of lengths wins", []Case{{Type: a, Max: 9}, {Type: b, Min: 4, Max: 4}}, records{"123": "a", "1234": "b"}},
		{"fewer values win", []Case{{Type: a, Tags: at(0, 'a', 'b')}, {Type: b, Tags: at(0, 'b')}}, records{"a": "a", "b": "b"}},
		{"neither a tag nor a length is more specific", []Case{{Type: a, Tags: at(0, 'a')}, {Type: b, Min: 4, Max: 4}},
			records{"a": "a", "abc": "a", "abcd": "", "bbcd": "b"}},
		{"equal cases", []Case{{Type: a, Tags: at(0, 'x')}, {Type: b, Tags: at(0, 'x')}}, records{"x": "", "y": ""}},
		{"equal cases of one type", []Case{{Type: a, Tags: at(0, 'x')}, {Type: a, Tags: at(1, 'x')}},
			records{"xx": "a", "x": "a", ".x": "a", "..": ""}},
		{"records of no type", []Case{{Type: a}, {Tags: at(0, 'x')}, {Min: 3, Max: 3}}, records{"a": "a", "x": "", "abc": "", "xbc": "", "abcd": "a"}},
		{"no type can be everything else", []Case{{Type: a, Min: 2, Max: 2}, {}}, records{"12": "a", "123": "", "": ""}},
		{"no cases", nil, records{"": "", "a": ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, err := NewCases(test.cases)
			if err != nil {
				t.Fatal(err)
			}
			checkSet(t, set, test.want)
			body, err := set.MarshalBinary()
			if err != nil || len(body)%4 != 0 {
				t.Fatalf("MarshalBinary: %d bytes, %v", len(body), err)
			}
			back, err := UnmarshalSet(body)
			if err != nil {
				t.Fatal(err)
			}
			checkSet(t, back, test.want)
			if set.String() != back.String() {
				t.Errorf("%s, read back %s", set, back)
			}
		})
	}
}

// A Set finds the same type in any order of its cases, with or without a table of tags.
func TestOrderOfCasesDoesNotMatter(t *testing.T) {
	a, b, c := plain("a", 2), plain("b", 4), plain("c", 8)
	cases := []Case{{Type: a, Tags: at(0, 1, 2)}, {Type: b, Tags: at(0, 2)}, {Type: c, Max: 3}, {Tags: at(0, 2), Min: 2, Max: 3}, {Type: a, Min: 6}}
	want := map[string]string{"\x01": "", "\x01234": "a", "\x02": "", "\x023": "", "\x0234": "", "\x02345": "b", "..": "c", "......": "a", "\x0234567": ""}
	for shift := range cases {
		set, err := NewCases(append(cases[shift:len(cases):len(cases)], cases[:shift]...))
		if err != nil {
			t.Fatal(err)
		}
		checkSet(t, set, want)
	}
}

func TestCasesAreRefused(t *testing.T) {
	a := plain("a", 4)
	many := make([]uint64, maxValues+1)
	for i := range many {
		many[i] = uint64(i)
	}
	for name, cases := range map[string][]Case{
		"a tag of three bytes":     {{Type: a, Tags: []Tag{{Size: 3}}}},
		"a tag of no bytes":        {{Type: a, Tags: []Tag{{}}}},
		"a tag of sixteen bytes":   {{Type: a, Tags: []Tag{{Size: 16}}}},
		"a tag before the record":  {{Type: a, Tags: []Tag{{Off: -1, Size: 1}}}},
		"a tag after all records":  {{Type: a, Tags: []Tag{{Off: maxSize + 1, Size: 1}}}},
		"a type without a size":    {{Type: &btf.Void{}}},
		"too many cases":           make([]Case, maxCases+1),
		"too many values of a tag": {{Type: a, Tags: []Tag{{Size: 8, Values: many}}}},
	} {
		if _, err := NewCases(cases); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSetDescribesItsTypes(t *testing.T) {
	tag := &btf.Enum{Name: "type", Size: 1, Values: []btf.EnumValue{{Name: "OPEN", Value: 1}}}
	head := structOf(4, member("type", tag, 0), member("n", u8, 1))
	event := &btf.Struct{Name: "event", Size: 8, Members: []btf.Member{member("h", head, 0), member("pid", u32, 4)}}
	for want, cases := range map[string][]Case{
		"event": {{Type: event}},
		"event where h.type is OPEN or 2 and h.n is 3": {{Type: event, Tags: append(at(0, 1, 2), at(1, 3)...)}},
		"event where there are 8 bytes":                {{Type: event, Min: 8, Max: 8}},
		"event where pid is 1 and there are at least 8 bytes, unknown where the number at byte 2 is 0": {
			{Type: event, Tags: []Tag{{Off: 4, Size: 4, Values: []uint64{1}}}, Min: 8}, {Tags: at(2, 0)}},
		"event where there are at most 8 bytes, unknown where there are 9 to 10 bytes": {{Type: event, Max: 8}, {Min: 9, Max: 10}},
	} {
		set, err := NewCases(cases)
		if err != nil {
			t.Fatal(err)
		}
		if set.String() != want {
			t.Errorf("%s\nwant %s", set, want)
		}
	}
}

// older returns a set in the binary form of earlier versions.
func older(t testing.TB, form uint32, types map[uint64]btf.Type) []byte {
	var builder btf.Builder
	list := le(form, uint32(len(types)))
	for key, typ := range types {
		id, err := builder.Add(typ)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, le(key, uint32(id), uint32(0))...)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(list, le(uint32(len(raw)))...), raw...)
}

func TestSetsOfEarlierVersions(t *testing.T) {
	seven, eight := tagged("seven", s16, 4), tagged("eight", s16, 2)
	for form, want := range map[uint32]map[string]string{
		byNothing: {"": "seven", "12345": "seven"},
		byTag:     {"\x07\x00..": "seven", "\x08\x00": "eight", "\x09\x00": "", "\x07": ""},
		byLength:  {"1234567": "seven", "12345678": "eight", "123456789": ""},
	} {
		types := map[uint64]btf.Type{7: seven}
		if form != byNothing {
			types[8] = eight
		}
		set, err := UnmarshalSet(older(t, form, types))
		if err != nil {
			t.Fatal(err)
		}
		checkSet(t, set, want)
	}
}

func TestSetsKeepOptions(t *testing.T) {
	event := call(enumOf("A_ONE", "A_TWO"), "one", "two")
	arms := []Arm{{Tag: Tag{Size: 4, Values: []uint64{1, 2}}, Union: 4, Member: 1, Meanings: map[int]Meaning{4: IPv4}}}
	for _, o := range []Options{{}, {Prefix: true}, {Header: true}, {KnownBy: "reconstructed"}, {Meanings: map[int]Meaning{4: Errno}}, {Arms: []Arm{}}, {Arms: arms}} {
		set, err := NewCases([]Case{{Type: event, Options: o}})
		if err != nil {
			t.Fatal(err)
		}
		body, err := set.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		back, err := UnmarshalSet(body)
		if err != nil {
			t.Fatal(err)
		}
		if got := back.Codecs()[0].options; !got.equal(&o) || !reflect.DeepEqual(got, o) {
			t.Errorf("%+v, want %+v", got, o)
		}
	}
}

func TestDamagedSetsAreRefused(t *testing.T) {
	set, err := NewCases([]Case{{Type: plain("a", 2), Tags: at(0, 1)}, {Min: 7}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := set.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(body) - 4 {
		if _, err := UnmarshalSet(body[:n]); err == nil {
			t.Errorf("%d of %d bytes: no error", n, len(body))
		}
	}
	for name, change := range map[string][2]string{
		"not JSON":           {`[{`, `[[`},
		"an unknown type":    {`"type":1`, `"type":9`},
		"a tag of no size":   {`"size":1`, `"size":0`},
		"an unknown version": {"\x03\x00\x00\x00", "\x04\x00\x00\x00"},
	} {
		if _, err := UnmarshalSet(bytes.Replace(body, []byte(change[0]), []byte(change[1]), 1)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	two := older(t, byNothing, map[uint64]btf.Type{1: plain("a", 2), 2: plain("b", 2)})
	if _, err := UnmarshalSet(two); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("two types that nothing tells apart: %v", err)
	}
	binary.LittleEndian.PutUint32(two[4:], 0xffffffff)
	if _, err := UnmarshalSet(two); !errors.Is(err, errTruncated) {
		t.Errorf("more types than there are bytes: %v", err)
	}
}
