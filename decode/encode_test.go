package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

func newCodec(t *testing.T, typ btf.Type) *Codec {
	t.Helper()
	e, err := New(typ)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A record that is decoded, encoded and decoded again gives the same JSON.
func TestEncodingReversesDecoding(t *testing.T) {
	for _, test := range samples {
		t.Run(test.name, func(t *testing.T) {
			e := newCodec(t, test.typ)
			record, err := e.AppendRecord([]byte("> "), []byte(test.json), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			d, err := New(test.typ)
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.AppendJSON(nil, record[2:])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.json, string(got)); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEncodedBytes(t *testing.T) {
	flex := structOf(16, member("a", u64, 0), member("b", u8, 8), member("c", arrayOf(char, 0), 9))
	for _, test := range []struct {
		name string
		typ  btf.Type
		json string
		want []byte
	}{
		{"missing fields and padding are zero", structOf(16, member("a", u32, 0), member("b", u32, 4), member("c", u8, 8)), ` { "c" : 7 } `, []byte{8: 7, 15: 0}},
		{"fields in any order", structOf(2, member("a", u8, 0), member("b", u8, 1)), `{"b":2,"a":1}`, []byte{1, 2}},
		{"a string fills its array", arrayOf(char, 3), `"abc"`, []byte("abc")},
		{"a shorter string ends with zeros", arrayOf(char, 4), `"ab"`, []byte("ab\x00\x00")},
		{"a string overwrites the one before", &btf.Union{Size: 3, Members: []btf.Member{member("a", arrayOf(char, 3), 0), member("b", arrayOf(char, 3), 0)}}, `{"a":"xyz","b":"a"}`, []byte("a\x00\x00")},
		{"fewer elements leave zeros", arrayOf(u16, 3), `[258]`, []byte{2, 1, 5: 0}},
		{"a flexible string begins in the padding", flex, `{"c":"xy"}`, append(make([]byte, 9), "xy"...)},
		{"and may be missing", flex, `{}`, make([]byte, 9)},
		{"a string as its bytes", arrayOf(char, 4), ` [ 97 , 255 ] `, []byte("a\xff\x00\x00")},
		{"a flexible string as its bytes", flex, `{"c":[0,255]}`, append(make([]byte, 9), "\x00\xff"...)},
		{"no bytes", arrayOf(char, 2), `[]`, make([]byte, 2)},
		{"NUL bytes are as given", flex, `{"c":"x\u0000y\u0000"}`, append(make([]byte, 9), "x\x00y\x00"...)},
		{"a flexible array of structs", structOf(4, member("n", u32, 0), member("a", arrayOf(nested, 0), 4)), `{"a":[{},{"x":1,"y":[2]}]}`,
			append(make([]byte, 12), 1, 0, 0, 0, 2, 0, 0, 0)},
		{"the whole of an array that may be cut off", structOf(8, member("n", u32, 0), member("a", arrayOf(char, 4), 4)), `{}`, make([]byte, 8)},
		{"integers as strings", structOf(24, member("a", u64, 0), member("b", s64, 8), member("c", u64, 16)), `{"a":"18446744073709551615","b":"-1","c":"0xff"}`,
			le(uint64(math.MaxUint64), int64(-1), uint64(255))},
		{"an enumerator's number", arrayOf(color, 3), `[7,"7",123]`, le(uint32(7), uint32(7), uint32(123))},
		{"negative zero", &btf.Float{Size: 8}, `-0`, le(math.Copysign(0, -1))},
		{"bitfields leave their neighbours alone", structOf(4, bitfield("a", u32, 0, 4), bitfield("b", s32, 4, 5), bitfield("c", u32, 9, 23)), `{"a":15,"c":8388607,"b":-16}`,
			le(uint32(15 | 16<<4 | 8388607<<9))},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newCodec(t, test.typ)
			got, err := e.AppendRecord(nil, []byte(test.json), 1000)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, test.want) {
				t.Errorf("got %x, want %x", got, test.want)
			}
			if len(got) < e.Size() {
				t.Errorf("%d bytes, Size() is %d", len(got), e.Size())
			}
		})
	}
}

func TestJSONThatDoesNotFit(t *testing.T) {
	s := structOf(64, member("u8", u8, 0), member("s8", s8, 1), member("u64", u64, 8), member("s64", s64, 16), member("flag", cbool, 2),
		member("f32", &btf.Float{Size: 4}, 24), member("color", color, 28), member("comm", arrayOf(char, 4), 32), member("n", nested, 36),
		bitfield("bits", u32, 44*8, 3), member("p", &btf.Pointer{Target: &btf.Void{}}, 48), bitfield("small", color, 56*8, 2))
	for _, test := range []struct{ name, json, text string }{
		{"an unknown field", `{"u9":1}`, `it has no field "u9"`},
		{"an unknown field further in", `{"n":{"z":1}}`, `field "n": does not fit the type: it has no field "z"`},
		{"a field twice", `{"u8":1,"u8":1}`, `field "u8" is given twice`},
		{"too great", `{"u8":256}`, `field "u8": does not fit the type: 256 is out of range (0 to 255)`},
		{"negative", `{"u8":-1}`, `-1 is out of range`},
		{"too small", `{"s8":-129}`, `-129 is out of range (-128 to 127)`},
		{"too great for 64 bits", `{"u64":18446744073709551616}`, `out of range`},
		{"too great for 64 bits with a sign", `{"s64":9223372036854775808}`, `out of range`},
		{"too great for a bitfield", `{"bits":8}`, `8 is out of range (0 to 7)`},
		{"too great for a float", `{"f32":1e39}`, `1e39 is out of range of a float of 32 bits`},
		{"an enumerator that does not fit into a bitfield", `{"small":"BLUE"}`, `BLUE does not fit into 2 bits`},
		{"a very long number", `{"u64":` + strings.Repeat("9", 1000) + `}`, `wanted an integer`},
		{"a fraction", `{"u8":1.5}`, `the number 1.5, wanted an integer`},
		{"an exponent", `{"u8":1e2}`, `wanted an integer`},
		{"a string for a number", `{"u8":"one"}`, `the string "one", wanted an integer`},
		{"a number with an underscore", `{"u64":"1_0"}`, `wanted an integer`},
		{"a bool for a number", `{"u8":true}`, `true, wanted an integer`},
		{"null", `{"u8":null}`, `null, wanted an integer`},
		{"a number for a bool", `{"flag":1}`, `the number 1, wanted true or false`},
		{"a string for a float", `{"f32":"much"}`, `wanted a number`},
		{"too many bytes", `{"comm":[1,2,3,4,5]}`, `field "comm": does not fit the type: more than 4 bytes`},
		{"a byte that is none", `{"comm":[1,256]}`, `field "comm": element 1: does not fit the type: 256 is not a byte (0 to 255)`},
		{"a string for a byte", `{"comm":["a"]}`, `the string "a", wanted a byte`},
		{"a number for a string", `{"comm":1}`, `the number 1, wanted a string`},
		{"an unknown enumerator", `{"color":"GREEN"}`, `no enumerator "GREEN"`},
		{"an empty enumerator", `{"color":""}`, `no enumerator ""`},
		{"a number for a string", `{"comm":1}`, `the number 1, wanted a string`},
		{"a string that is too long", `{"comm":"abcde"}`, `a string of 5 bytes, the array has 4`},
		{"a number for an object", `{"n":1}`, `the number 1, wanted an object`},
		{"an array for an object", `{"n":[]}`, `an array, wanted an object`},
		{"an object for an array", `{"n":{"y":{}}}`, `an object, wanted an array`},
		{"too many elements", `{"n":{"y":[1,2,3]}}`, `field "n": field "y": does not fit the type: more than 2 elements`},
		{"an element that does not fit", `{"n":{"y":[1,65536]}}`, `element 1: does not fit the type: 65536 is out of range`},
		{"two values", `{} {}`, `more than one value`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dst, err := newCodec(t, s).AppendRecord([]byte("x"), []byte(test.json), 1000)
			if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v; want ErrMismatch with %q", err, test.text)
			}
			if string(dst) != "x" {
				t.Errorf("dst is %q", dst)
			}
		})
	}
	for _, text := range []string{``, `{`, `{"u8"`, `{"u8":`, `{"u8":1`, `{"u8":1,}`, `{"n":{"y":[`, `nothing`, `{} x`, `{u8:1}`} {
		if _, err := newCodec(t, s).AppendRecord(nil, []byte(text), 1000); err == nil || errors.Is(err, ErrMismatch) {
			t.Errorf("%q: %v; want a syntax error", text, err)
		}
	}
}

func TestEncodedRecordsAreBounded(t *testing.T) {
	flex := structOf(4, member("n", u32, 0), member("a", arrayOf(u64, 0), 4))
	for _, test := range []struct {
		name string
		typ  btf.Type
		json string
		fits int
	}{
		{"a struct", structOf(100), `{}`, 100},
		{"an array of a GiB", arrayOf(u8, maxSize-100), `[]`, maxSize - 100},
		{"a flexible array", flex, `{"a":[1,2,3]}`, 28},
		{"a flexible string", arrayOf(char, 0), `"abcd"`, 4},
	} {
		e := newCodec(t, test.typ)
		if dst, err := e.AppendRecord(nil, []byte(test.json), test.fits-1); !errors.Is(err, ErrTooLong) || cap(dst) >= test.fits && test.fits > 1000 {
			t.Errorf("%s: %v; want ErrTooLong", test.name, err)
		}
		if test.fits > 1000 {
			continue
		}
		if _, err := e.AppendRecord(nil, []byte(test.json), test.fits); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// FuzzEncode encodes JSON to a record, decodes the record to JSON, and does both again: the JSON is the same.
func FuzzEncode(f *testing.F) {
	typ := everything()
	c, err := New(typ)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{}`))
	for _, record := range [][]byte{make([]byte, 92), bytes.Repeat([]byte{1, 'x', 0x7f, 0}, 25)} {
		text, err := c.AppendJSON(nil, record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		record, err := c.AppendRecord(nil, text, 4096)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatal("AppendRecord accepted text that is not JSON")
		}
		again, err := c.AppendJSON(nil, record)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(again, []byte("NaN")) { // different NaNs are all "NaN" in JSON
			return
		}
		record2, err := c.AppendRecord(nil, again, 4096)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if third, err := c.AppendJSON(nil, record2); err != nil || !bytes.Equal(again, third) {
			t.Errorf("%s became %s, %v", again, third, err)
		}
	})
}
