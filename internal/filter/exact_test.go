package filter

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/testenv"
)

// numbers returns a type with integers of all sizes. Some of its members have the names of functions.
func numbers(t testing.TB) *decode.Set {
	s64 := &btf.Int{Name: "s64", Size: 8, Encoding: btf.Signed}
	double := &btf.Float{Name: "double", Size: 8}
	set, err := decode.NewSet(&btf.Struct{Name: "numbers", Size: 88, Members: []btf.Member{
		{Name: "a", Type: u64}, {Name: "max", Type: u64, Offset: 64}, {Name: "s", Type: s64, Offset: 128},
		{Name: "count", Type: s64, Offset: 192}, {Name: "u", Type: u32, Offset: 256}, {Name: "i", Type: s32, Offset: 288},
		{Name: "list", Type: &btf.Array{Type: u64, Nelems: 3}, Offset: 320}, {Name: "f", Type: double, Offset: 512},
		{Name: "wide", Type: &btf.Int{Name: "u128", Size: 16}, Offset: 576},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// record has the layout of the type that numbers returns.
type record struct {
	A, Max, S, Count uint64 // the type has S and Count as signed integers
	U, I             uint32 // the type has I as a signed integer
	List             [3]uint64
	F                float64
	Wide             [2]uint64 // an integer of 128 bits, lower half first
}

func (r record) bytes(t testing.TB) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// match returns whether an expression is true for r, and the error if it cannot be evaluated.
func match(t testing.TB, expression string, r record) (bool, error) {
	t.Helper()
	f, err := New(expression, numbers(t))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	matched := f.Match(1, 2, r.bytes(t))
	_, err = f.Errors()
	return matched, err
}

func TestIntegersAreExact(t *testing.T) {
	r := record{
		A: 0xffffffff81000000, Max: 1<<53 + 1, S: 1 << 63, Count: math.MaxUint64, U: math.MaxUint32, I: math.MaxUint32,
		List: [3]uint64{1 << 63, 5, math.MaxUint64}, F: 1 << 53, Wide: [2]uint64{1, 1},
	}
	for _, expression := range []string{
		`a == 0xffffffff81000000`, `a == 18446744071578845184`, `a == 0xffff_ffff_8100_0000`, `a == 1.8446744071578845184e19`,
		`a > 0x7fffffffffffffff`, `a == 0b1111111111111111111111111111111110000001000000000000000000000000`,
		`a - 1 > 5`, `a + 0 == a`, `a - a == 0`, `a + a == 2 * a`, `a * a / a == a`, `-a < 0`, `-a + a == 0`, `0 - a == -18446744071578845184`,
		`a % 10 == 4`, `a / 2 == 0x7fffffffc0800000`, `(a + 1) / 2 > a / 2`, `(a + 1) / 2 != a / 2`, `a ** 2 / a == a`, `2 ** 64 > a`,
		`s == -9223372036854775808`, `s - 1 < s`, `s - 1 == -9223372036854775809`, `-s == 9223372036854775808`, `s * s == 2 ** 126`, `s * -1 > 0`,
		`s / -1 == 0x8000000000000000`, `count == -1`, `count < a`, `count != 18446744073709551615`, `u != count`, `i == -1`, `u > i`,
		`max == 9007199254740993`, `max != f`, `max > f`, `f < max`, `f == 9007199254740992`, `f + 0.5 > 1`, `max > 9007199254740992.0`,
		`a in [1, 0xffffffff81000000]`, `a not in [-2130706432]`, `a in 0xffffffff81000000..0xffffffff81000001`, `a in 5..18446744071578845183 == false`,
		`a in list == false`, `9223372036854775808 in list`, `9.5 not in 9..10`, `list == [9223372036854775808, 5, 18446744073709551615]`,
		`list[0] == 0x8000000000000000`, `list[u - 4294967295] > list[1]`, `list[1:][0] == 5`, `list[-1] == 2 ** 64 - 1`,
		`len(list) == 3`, `len == 80 || len == 88`, `len([a, s]) == 2`, `max(a, 1) == a`, `max(1, a) == a`, `min(a, 1) == 1`, `max(list) == list[2]`, `min(list, a) == 5`,
		`abs(a) == a`, `abs(s) == 9223372036854775808`, `sum(list) == 27670116110564327428`, `sum(list, # / 2) == sum(list) / 2`,
		`sum(map(list, # + 1)) - sum(list) == 3`, `any(list, # == 0x8000000000000000)`, `all(list, # > 4)`, `one(list, # > a)`, `none(list, # < 0)`,
		`count(list, # > 5) == 2`, `filter(list, # > 5)[0] == 1 << 63`, `find(list, # > 0x8000000000000000) == list[2]`, `findIndex(list, # == 5) == 1`,
		`(u > 0 ? a : s) == a`, `(u > 0 ? s : a) == s`, `(nil ?? a) == a`, `let x = a; x == 0xffffffff81000000`, `let x = a - 1; x + 1 == a`,
		`bitand(a, 0x8000000000000000) != 0`, `bitand(a, 0xffffffff) == 0x81000000`, `bitor(a, 1) == a + 1`, `bitxor(a, a) == 0`, `bitshr(a, 32) == 0xffffffff`,
		`bitshl(1, 63) == 0x8000000000000000`, `bitnot(0) == -1`, `bitand(bitnot(u), 1) == 0`, `int(a / 3) * 3 <= a`, `floor(a / 7) * 7 + a % 7 == a`, `round(max / 2) == 4503599627370497`,
		`float(f) == f`, `int("18446744073709551615") > a`, `string(a) == "18446744071578845184"`, `wide == 18446744073709551617`, `wide - 1 == 2 ** 64`, `wide > a`,
		`1 / 10 == 0.1`, `a / 1000 > 18446744071578845`, `pos == 2`, `type == "numbers" && data.a == a`, `max([a, s], count) == a`, `upper("x") == "X"`, `"a,b" contains ","`,
		`split("a,b", ",") == ["a", "b"]`, `indexOf("abc", "c") == u - 4294967293`, `a | bitand(1) == 0`, `any(list, any(1..3, # == 2) && # > 5)`,
	} {
		expression = strings.ReplaceAll(expression, "1 << 63", "9223372036854775808")
		t.Run(expression, func(t *testing.T) {
			matched, err := match(t, expression, r)
			if err != nil || !matched {
				t.Errorf("%v, %v", matched, err)
			}
		})
	}
}

// A record for which the expression has no exact result does not match, and is counted as an error.
func TestWhatHasNoExactAnswerIsNotJudged(t *testing.T) {
	r := record{A: 1<<53 + 1, F: math.NaN()}
	for expression, cause := range map[string]string{
		`a + 0.5 > 0`: "no floating-point number equals 9007199254740993", `float(a) > 0`: "equals 9007199254740993",
		`a / u > 0`: "division by zero", `a % u == 0`: "division by zero", `a ** a > 0`: "more than 4096 bits", `9 ** 9 ** 9 > 0`: "more than 4096 bits",
		`list[a] == 1`: "index 9007199254740993 out of range for a list of 3", `int(f) == 0`: "NaN is not an integer", `len(0..a) > 0`: "list elements",
		`any(0..1000000, any(0..1000000, # < 0))`: "list elements", `bitshl(1, a) > 0`: "cannot shift",
		`max(a, f) == a`: "max does not take NaN", `u ** -1 > 0`: "division by zero", `2 ** (1 / 2) > 0`: "exponent",
	} {
		t.Run(expression, func(t *testing.T) {
			matched, err := match(t, expression, r)
			if matched || err == nil || !strings.Contains(err.Error(), cause) {
				t.Errorf("%v, %v, want %s", matched, err, cause)
			}
		})
	}
}

// No record can make a filter spend seconds on parsing or printing a number.
func TestNumbersInRecordsAreBounded(t *testing.T) {
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	const digits = 1 << 20
	set, err := decode.NewSet(&btf.Struct{Name: "text", Size: digits, Members: []btf.Member{
		{Name: "s", Type: &btf.Array{Index: u32, Type: char, Nelems: digits}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, expression := range []string{`int(s) > 0`, `float(s) > 0`} {
		f, err := New(expression, set)
		if err != nil {
			t.Fatal(err)
		}
		for _, digit := range []byte("x9") {
			if f.Match(1, 2, bytes.Repeat([]byte{digit}, digits)) {
				t.Errorf("%s: %c matches", expression, digit)
			}
		}
		if n, err := f.Errors(); n != 2 || !strings.Contains(err.Error(), "more than 4096 bits") {
			t.Errorf("%s: %d errors, the first %.100q of %d bytes", expression, n, err, len(err.Error()))
		}
	}
}

// New rejects operators and functions that are inexact or have no use in a filter. The error names them.
func TestUnknownOperatorsAreRefused(t *testing.T) {
	for expression, cause := range map[string]string{
		`mean(list) > 1`: "the function mean (1:1)", `sort(list)[0] == 1`: "the function sort", `a == median(list)`: "the function median (1:6)",
		`bitushr(a, 1) == 1`: "the function bitushr", `reduce(list, # + #acc) > 1`: "the function reduce", `now() > date("2020-01-01")`: "the function now",
		`{"x": a}.x == a`: "map literals", `$env.a == 1`: "$env", `toJSON(a) == "1"`: "the function toJSON",
		`a == 9007199254740993.5`: "the number 9007199254740993.5 is not exact", `a < 1` + strings.Repeat("0", 1300): "more than 4096 bits",
		`a == 0xg`: "bad number syntax", `a & 1 == 1`: `unexpected "&"`,
	} {
		t.Run(cause, func(t *testing.T) {
			if _, err := New(expression, numbers(t)); err == nil || !strings.Contains(err.Error(), cause) {
				t.Errorf("%v, want %s", err, cause)
			}
		})
	}
}

// agree compares the filter's result with that of the reference. It returns false if the filter has no
// result.
func agree(t *testing.T, set *decode.Set, seed uint64, depth int) bool {
	t.Helper()
	g := newGenerator(seed)
	e := g.truth(depth)
	f, err := New(e.text, set)
	if err != nil {
		return false
	}
	matched := f.Match(1, 2, g.r.bytes(t))
	_, errMatch := f.Errors()
	want, err := e.value()
	switch {
	case err != nil && errMatch == nil:
		t.Errorf("seed %d: %s is %v for %+v: it has no value", seed, e.text, matched, g.r)
	case err == nil && (errMatch != nil || matched != (want.Sign() != 0)):
		t.Errorf("seed %d: %s is %v (%v) for %+v", seed, e.text, matched, errMatch, g.r)
	}
	return true
}

func TestFilterAgreesWithMathBig(t *testing.T) {
	set := numbers(t)
	runs := 4000
	if testenv.InGuest() {
		runs = 200
	}
	refused := 0
	for seed := range uint64(runs) {
		if !agree(t, set, seed, int(seed%3)+1) {
			refused++
		}
		if t.Failed() {
			break
		}
	}
	if refused > runs/3 {
		t.Errorf("%d of %d refused", refused, runs)
	}
	t.Logf("%d of %d refused", refused, runs)
}

func FuzzFilterAgreesWithMathBig(f *testing.F) {
	set := numbers(f)
	f.Add(uint64(1), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, depth uint8) { agree(t, set, seed, int(depth%4)) })
}
