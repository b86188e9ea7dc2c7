package decode

import (
	"encoding/json"
	"math/big"
	"reflect"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// Values returns the same values as the JSON of AppendJSON.
func TestValuesAreThoseOfJSON(t *testing.T) {
	d, err := New(everything())
	if err != nil {
		t.Fatal(err)
	}
	record := make([]byte, 92+6)
	for i := range record {
		record[i] = byte(i * 37)
	}
	copy(record[92:], "ab\x00cd\x00")
	v, err := d.Select().Values(record)
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.AppendJSON(nil, record)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	got := v.(map[string]any)
	if len(got) != len(want) {
		t.Errorf("%d fields, want %d", len(got), len(want))
	}
	for name := range want {
		if got[name] == nil {
			t.Errorf("no field %s", name)
		}
	}
	if diff := cmp.Diff([]any{"ab", "cd"}, got["rest"]); diff != "" {
		t.Error(diff)
	}
	if u, ok := got["u"].(*big.Int); !ok || u.BitLen() > 128 {
		t.Errorf("u is %v", got["u"])
	}
	if inner := got["inner"].([]any)[0].(map[string]any); inner["s"] == nil || inner["i"].(int) != int(want["inner"].([]any)[0].(map[string]any)["i"].(float64)) {
		t.Errorf("inner[0] is %v", inner)
	}
	some, err := d.Select("flag", "inner").Values(record)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"flag": got["flag"], "inner": got["inner"]}, some); diff != "" {
		t.Error(diff)
	}
}

func TestFields(t *testing.T) {
	inner := structOf(8, member("x", s32, 0), member("name", arrayOf(char, 4), 4))
	d, err := New(structOf(40, member("color", color, 0), member("in", inner, 8), member("list", arrayOf(inner, 2), 16), member("big", u64, 32)))
	if err != nil {
		t.Fatal(err)
	}
	text, number := reflect.TypeFor[string](), reflect.TypeFor[int]()
	want := []Field{
		{Path: []string{"color"}, Type: text, Enumerators: d.Fields()[0].Enumerators, Numbers: []int64{7, 0}},
		{Path: []string{"in", "x"}, Type: number},
		{Path: []string{"in", "name"}, Type: text},
		{Path: []string{"list"}, Type: reflect.TypeFor[[]any](), Elem: []Field{{Path: []string{"x"}, Type: number}, {Path: []string{"name"}, Type: text}}},
		{Path: []string{"big"}, Type: reflect.TypeFor[uint64]()},
	}
	if diff := cmp.Diff(want, d.Fields(), cmp.Comparer(func(a, b reflect.Type) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestDatasec(t *testing.T) {
	d, err := New(&btf.Datasec{Name: ".bss", Size: 16, Vars: []btf.VarSecinfo{
		{Type: &btf.Var{Name: "count", Type: u64}, Offset: 0, Size: 8},
		{Type: &btf.Var{Name: "name", Type: arrayOf(char, 8)}, Offset: 8, Size: 8},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.AppendJSON(nil, []byte("\x05\x00\x00\x00\x00\x00\x00\x00hello\x00\x00\x00"))
	if want := `{"count":5,"name":"hello"}`; err != nil || string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
}
