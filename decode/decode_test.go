package decode

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

var (
	char    = &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	u8      = &btf.Int{Name: "unsigned char", Size: 1}
	u16     = &btf.Int{Name: "unsigned short", Size: 2}
	u32     = &btf.Int{Name: "unsigned int", Size: 4}
	u64     = &btf.Int{Name: "unsigned long", Size: 8}
	s8      = &btf.Int{Name: "signed char", Size: 1, Encoding: btf.Signed}
	s16     = &btf.Int{Name: "short", Size: 2, Encoding: btf.Signed}
	s32     = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	s64     = &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}
	u128    = &btf.Int{Name: "unsigned __int128", Size: 16}
	s128    = &btf.Int{Name: "__int128", Size: 16, Encoding: btf.Signed}
	cbool   = &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}
	color   = &btf.Enum{Name: "color", Size: 4, Values: []btf.EnumValue{{Name: "RED", Value: 0}, {Name: "BLUE", Value: 7}, {Name: "ALSO_BLUE", Value: 7}}}
	signed8 = &btf.Enum{Name: "signed8", Size: 1, Signed: true, Values: []btf.EnumValue{{Name: "MINUS", Value: math.MaxUint64}}}
	enum64  = &btf.Enum{Name: "enum64", Size: 8, Values: []btf.EnumValue{{Name: "BIG", Value: 1 << 40}}}
	low64   = &btf.Enum{Name: "low64", Size: 8, Signed: true, Values: []btf.EnumValue{{Name: "LOW", Value: math.MaxUint64 - 1}}}
)

// member returns a field of type t at a byte offset.
func member(name string, t btf.Type, offset uint32) btf.Member {
	return btf.Member{Name: name, Type: t, Offset: btf.Bits(offset * 8)}
}

func bitfield(name string, t btf.Type, offset, bits uint32) btf.Member {
	return btf.Member{Name: name, Type: t, Offset: btf.Bits(offset), BitfieldSize: btf.Bits(bits)}
}

func structOf(size uint32, members ...btf.Member) *btf.Struct {
	return &btf.Struct{Name: "s", Size: size, Members: members}
}

func arrayOf(t btf.Type, n uint32) *btf.Array { return &btf.Array{Index: u32, Type: t, Nelems: n} }

func le(values ...any) []byte {
	var b []byte
	for _, v := range values {
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b
}

var nested = structOf(8, member("x", u32, 0), member("y", arrayOf(u16, 2), 4))

// samples has records of all kinds of types, each with its JSON and text.
var samples = []struct {
	name   string
	typ    btf.Type
	record []byte
	json   string
	text   string
}{
	{"unsigned integers of every width",
		structOf(15, member("a", u8, 0), member("b", u16, 1), member("c", u32, 3), member("d", u64, 7)),
		le(uint8(255), uint16(65535), uint32(math.MaxUint32), uint64(math.MaxUint64)),
		`{"a":255,"b":65535,"c":4294967295,"d":18446744073709551615}`,
		`a=255 b=65535 c=4294967295 d=18446744073709551615`},
	{"signed integers of every width",
		structOf(15, member("a", s8, 0), member("b", s16, 1), member("c", s32, 3), member("d", s64, 7)),
		le(int8(-128), int16(-1), int32(math.MinInt32), int64(math.MinInt64)),
		`{"a":-128,"b":-1,"c":-2147483648,"d":-9223372036854775808}`,
		`a=-128 b=-1 c=-2147483648 d=-9223372036854775808`},
	{"128-bit integers are decimal strings",
		structOf(48, member("a", u128, 0), member("b", s128, 16), member("c", s128, 32)),
		le(uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(0), uint64(1)),
		`{"a":"340282366920938463463374607431768211455","b":"-1","c":"18446744073709551616"}`,
		`a=340282366920938463463374607431768211455 b=-1 c=18446744073709551616`},
	{"bools", structOf(3, member("a", cbool, 0), member("b", cbool, 1), member("c", cbool, 2)), []byte{0, 1, 2},
		`{"a":false,"b":true,"c":true}`, `a=false b=true c=true`},
	{"floats",
		structOf(20, member("a", &btf.Float{Size: 4}, 0), member("b", &btf.Float{Size: 8}, 4), member("c", &btf.Float{Size: 8}, 12)),
		le(float32(0.1), 1e300, math.Inf(-1)),
		`{"a":0.1,"b":1e+300,"c":"-Inf"}`, `a=0.1 b=1e+300 c=-Inf`},
	{"a long double in hex", &btf.Float{Name: "long double", Size: 16}, []byte{1, 2, 15: 0xff},
		`"0xff000000000000000000000000000201"`, `0xff000000000000000000000000000201`},
	{"enums by name, the first of several, and by number where there is none",
		structOf(12, member("a", color, 0), member("b", color, 4), member("c", color, 8)),
		le(uint32(0), uint32(7), uint32(9)),
		`{"a":"RED","b":"BLUE","c":9}`, `a=RED b=BLUE c=9`},
	{"signed and 64-bit enums", structOf(10, member("a", signed8, 0), member("b", signed8, 1), member("c", enum64, 2)),
		le(int8(-1), int8(-2), uint64(1<<40)), `{"a":"MINUS","b":-2,"c":"BIG"}`, `a=MINUS b=-2 c=BIG`},
	{"negative enumerators of bitfields, by name as in full width",
		structOf(8, bitfield("a", signed8, 0, 3), bitfield("b", signed8, 3, 3), bitfield("c", signed8, 6, 2), bitfield("d", low64, 8, 40)),
		le(uint64(7 | 6<<3 | 1<<6 | (1<<40-2)<<8)), `{"a":"MINUS","b":-2,"c":1,"d":"LOW"}`, `a=MINUS b=-2 c=1 d=LOW`},
	{"char arrays end at the NUL", structOf(8, member("a", arrayOf(char, 4), 0), member("b", arrayOf(char, 4), 4)),
		[]byte("ab\x00xwxyz"), `{"a":"ab","b":"wxyz"}`, `a=ab b=wxyz`},
	{"strings are escaped", arrayOf(char, 24), []byte("a\"\\\n\x01 é\x7f\u009b\u202e🙂"),
		`"a\"\\\n\u0001 é\u007f\u009b\u202e🙂"`, `"a\"\\\n\x01 é\x7f\u009b\u202e🙂"`},
	{"strings that are not UTF-8 are their bytes", arrayOf(arrayOf(char, 4), 2), []byte("a\xff\x00bé\xe2\x82"),
		`[[97,255],[195,169,226,130]]`, `["a\xff","é\xe2\x82"]`},
	{"an empty string", arrayOf(char, 1), []byte{0}, `""`, `""`},
	{"bytes are numbers", arrayOf(u8, 3), []byte{1, 2, 255}, `[1,2,255]`, `[1,2,255]`},
	{"arrays of arrays", arrayOf(arrayOf(s8, 2), 2), []byte{1, 255, 3, 4}, `[[1,-1],[3,4]]`, `[[1,-1],[3,4]]`},
	{"arrays of strings", arrayOf(arrayOf(char, 2), 2), []byte("abc\x00"), `["ab","c"]`, `[ab,c]`},
	{"arrays of structs", arrayOf(nested, 2), le(uint32(1), uint16(2), uint16(3), uint32(4), uint16(5), uint16(6)),
		`[{"x":1,"y":[2,3]},{"x":4,"y":[5,6]}]`, `[{x=1 y=[2,3]},{x=4 y=[5,6]}]`},
	{"nested structs", structOf(12, member("a", u32, 0), member("n", nested, 4)),
		le(uint32(9), uint32(1), uint16(2), uint16(3)), `{"a":9,"n":{"x":1,"y":[2,3]}}`, `a=9 n={x=1 y=[2,3]}`},
	{"anonymous members are flat, all of a union shown",
		structOf(8, member("", &btf.Union{Size: 4, Members: []btf.Member{member("a", u32, 0), member("", structOf(4, member("b", u16, 0), member("c", u16, 2)), 0)}}, 0), member("d", u32, 4)),
		le(uint16(1), uint16(2), uint32(3)), `{"a":131073,"b":1,"c":2,"d":3}`, `a=131073 b=1 c=2 d=3`},
	{"an empty struct", structOf(0), nil, `{}`, ``},
	{"pointers", structOf(16, member("p", &btf.Pointer{Target: &btf.Void{}}, 0), member("f", &btf.Pointer{Target: &btf.FuncProto{Return: &btf.Void{}}}, 8)),
		le(uint64(0xffff888000000000), uint64(0)), `{"p":"0xffff888000000000","f":"0x0"}`, `p=0xffff888000000000 f=0x0`},
	{"qualifiers and typedefs are looked through",
		structOf(4, member("a", &btf.Typedef{Name: "t", Type: &btf.Const{Type: &btf.Volatile{Type: s32}}}, 0)), le(int32(-5)), `{"a":-5}`, `a=-5`},
	{"bitfields",
		structOf(4, bitfield("a", u32, 0, 4), bitfield("b", s32, 4, 4), bitfield("c", u32, 8, 13), bitfield("", u32, 21, 2), bitfield("d", cbool, 23, 1), bitfield("e", color, 24, 3)),
		le(uint32(5 | 0xf<<4 | 0x1abc<<8 | 1<<23 | 7<<24)), `{"a":5,"b":-1,"c":6844,"d":true,"e":"BLUE"}`, `a=5 b=-1 c=6844 d=true e=BLUE`},
	{"a bitfield over nine bytes", structOf(9, bitfield("pad", u8, 0, 4), bitfield("a", u64, 4, 64), bitfield("b", u8, 68, 4)),
		[]byte{0xf1, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0xa0}, `{"pad":1,"a":81985529216486895,"b":10}`, `pad=1 a=81985529216486895 b=10`},
	{"a flexible array takes the rest", structOf(4, member("n", u32, 0), member("a", arrayOf(u16, 0), 4)),
		le(uint32(1), uint16(2), uint16(3), uint8(9)), `{"n":1,"a":[2,3]}`, `n=1 a=[2,3]`},
	{"a flexible char array in a union, as DECLARE_FLEX_ARRAY makes it",
		structOf(1, member("n", u8, 0), member("", &btf.Union{Members: []btf.Member{member("", structOf(0, member("empty", structOf(0), 0), member("s", arrayOf(char, 0), 0)), 0)}}, 1)),
		[]byte("\x01hello"), `{"n":1,"empty":{},"s":"hello"}`, `n=1 empty={} s=hello`},
	{"a flexible array that is not last is empty", structOf(4, member("a", arrayOf(u16, 0), 0), member("n", u32, 0)),
		le(uint32(1)), `{"a":[],"n":1}`, `a=[] n=1`},
	{"the last array may be cut off", structOf(20, member("n", u32, 0), member("s", arrayOf(char, 16), 4)),
		[]byte("\x01\x00\x00\x00abc"), `{"n":1,"s":"abc"}`, `n=1 s=abc`},
	{"padding at the end may be missing", structOf(16, member("a", u64, 0), member("b", u8, 8)),
		le(uint64(1), uint8(2)), `{"a":1,"b":2}`, `a=1 b=2`},
	{"bytes beyond the type are not shown", structOf(4, member("a", u32, 0)), le(uint32(1), uint64(2)), `{"a":1}`, `a=1`},
	{"names are escaped", &btf.Struct{Size: 1, Members: []btf.Member{member("a\"b\n", u8, 0)}}, []byte{1}, `{"a\"b\n":1}`, `"a\"b\n"=1`},
	{"arrays of nothing", structOf(4, member("a", arrayOf(structOf(0), math.MaxUint32), 0), member("n", u32, 0)), le(uint32(1)), `{"a":[],"n":1}`, `a=[] n=1`}}

func TestValues(t *testing.T) {
	for _, test := range samples {
		t.Run(test.name, func(t *testing.T) {
			d, err := New(test.typ)
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.AppendJSON([]byte("> "), test.record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("> "+test.json, string(got)); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
			if !json.Valid(got[2:]) {
				t.Error("JSON is not valid")
			}
			got, err = d.AppendText(nil, test.record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.text, string(got)); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShortRecords(t *testing.T) {
	cut := arrayOf(char, 4)
	for _, test := range []struct {
		name string
		typ  btf.Type
		size int // of the shortest record that decodes
	}{
		{"a struct of scalars needs all of them", structOf(16, member("a", u64, 0), member("b", u16, 8)), 10},
		{"an array in the middle", structOf(8, member("a", cut, 0), member("b", u32, 4)), 8},
		{"an array at the end", structOf(8, member("a", u32, 0), member("b", cut, 4)), 4},
		{"an array at the end of a struct at the end", structOf(12, member("a", u64, 0), member("b", structOf(4, member("c", cut, 0)), 8)), 8},
		{"an array at the end of a union", &btf.Union{Size: 4, Members: []btf.Member{member("a", u8, 0), member("b", cut, 0)}}, 4},
		{"a flexible array", structOf(4, member("a", u32, 0), member("b", arrayOf(u8, 0), 4)), 4},
		{"the elements of an array are whole", structOf(16, member("a", arrayOf(structOf(8, member("b", cut, 0), member("c", cut, 4)), 2), 0)), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := New(test.typ)
			if err != nil {
				t.Fatal(err)
			}
			if d.Size() != test.size {
				t.Errorf("Size() = %d, want %d", d.Size(), test.size)
			}
			for n := range 32 {
				out, err := d.AppendJSON([]byte("x"), make([]byte, n))
				switch {
				case n < test.size && (!errors.Is(err, ErrShort) || string(out) != "x"):
					t.Errorf("%d bytes: %q, %v; want ErrShort", n, out, err)
				case n >= test.size && (err != nil || !json.Valid(out[1:])):
					t.Errorf("%d bytes: %q, %v", n, out, err)
				}
			}
		})
	}
}

func TestColumns(t *testing.T) {
	d, err := New(structOf(20, member("a", u32, 0), member("s", arrayOf(char, 12), 4), member("b", u32, 16)))
	if err != nil {
		t.Fatal(err)
	}
	printer := d.Printer(PrintOptions{})
	var got []string
	for _, record := range [][]byte{
		le(uint32(1), []byte("ab\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint32(1)),
		le(uint32(1000), []byte("abcd\x00\x00\x00\x00\x00\x00\x00\x00"), uint32(2)),
		le(uint32(1), []byte("\x00           "), uint32(30)),
	} {
		line, err := printer.AppendText(nil, record)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(line))
	}
	want := []string{
		`a=1 s=ab b=1`,
		`a=1000 s=abcd b=2`,
		`a=1    s=""   b=30`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestRefusedTypes(t *testing.T) {
	itself := &btf.Struct{Name: "itself", Size: 8}
	itself.Members = []btf.Member{member("a", itself, 0)}
	viaArray := &btf.Struct{Name: "via_array", Size: 8}
	viaArray.Members = []btf.Member{member("a", arrayOf(viaArray, 1), 0)}
	loop := &btf.Typedef{Name: "loop"}
	loop.Type = &btf.Const{Type: loop}
	wide := btf.Type(u8) // 4^16 fields
	for range 16 {
		wide = &btf.Union{Size: 1, Members: []btf.Member{member("a", wide, 0), member("b", wide, 0), member("c", wide, 0), member("d", wide, 0)}}
	}
	nothing := btf.Type(structOf(0)) // 4^16 empty structs
	for range 16 {
		nothing = structOf(0, member("a", nothing, 0), member("", nothing, 0), member("c", nothing, 0), member("", nothing, 0))
	}
	named := &btf.Union{Name: "named", Size: 1}
	for range 100 {
		named.Members = append(named.Members, member(strings.Repeat("n", 1<<17), u8, 0))
	}
	values := &btf.Enum{Name: "values", Size: 4}
	for i := range 100 {
		values.Values = append(values.Values, btf.EnumValue{Name: strings.Repeat("n", 1<<17), Value: uint64(i)})
	}
	for _, test := range []struct {
		name string
		typ  btf.Type
		want error
	}{
		{"void", &btf.Void{}, errUnsized},
		{"a forward declaration", structOf(4, member("a", &btf.Fwd{Name: "f"}, 0)), errUnsized},
		{"a function", structOf(4, member("a", &btf.Func{Type: &btf.FuncProto{Return: u32}}, 0)), errUnsized},
		{"a struct in itself", itself, errDepth},
		{"a struct in itself through an array", viaArray, errDepth},
		{"a typedef of itself", loop, errUnsized},
		{"more fields than any type has", wide, errFields},
		{"more structs of nothing than any type has", nothing, errFields},
		{"longer names than any type has", named, errNames},
		{"longer enumerators than any type has", values, errNames},
		{"an integer of 3 bytes", &btf.Int{Size: 3}, errWidth},
		{"an enum of 3 bytes", &btf.Enum{Size: 3}, errWidth},
		{"a bool of 16 bytes", &btf.Int{Size: 16, Encoding: btf.Bool}, errWidth},
		{"a float of 5 bytes", &btf.Float{Size: 5}, errWidth},
		{"a bitfield of a struct", structOf(4, bitfield("a", structOf(1), 0, 3)), errWidth},
		{"a bitfield of 65 bits", structOf(16, bitfield("a", u128, 0, 65)), errWidth},
		{"a field beyond its struct", structOf(4, member("a", u32, 1)), errLayout},
		{"a bitfield beyond its struct", structOf(4, bitfield("a", u32, 30, 3)), errLayout},
		{"an array beyond its struct", structOf(4, member("a", arrayOf(u8, 5), 0)), errLayout},
		{"a field between bytes", structOf(4, btf.Member{Name: "a", Type: u8, Offset: 4}), errLayout},
		{"a type of 4 GiB", arrayOf(u64, 1<<29), errSize},
		{"a size that overflows", arrayOf(arrayOf(u64, math.MaxUint32), math.MaxUint32), errUnsized},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := New(test.typ); !errors.Is(err, test.want) {
				t.Errorf("New: %v, want %v", err, test.want)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	all := &btf.Union{Size: 1 << 16}
	for range 1 << 10 {
		all.Members = append(all.Members, member("a", arrayOf(u8, 1<<16), 0))
	}
	d, err := New(all)
	if err != nil {
		t.Fatal(err)
	}
	record := make([]byte, 1<<16)
	out, err := d.AppendJSON(nil, record)
	if !errors.Is(err, ErrTooLong) {
		t.Fatalf("AppendJSON: %v, want ErrTooLong", err)
	}
	if limit := 2 * (1<<20 + 256*len(record)); cap(out) > limit {
		t.Errorf("%d bytes were made, want at most %d", cap(out), limit)
	}
}
