package decode

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// A Number loads what JSON shows.
func TestNumbersAreThoseOfJSON(t *testing.T) {
	c, err := New(everything())
	if err != nil {
		t.Fatal(err)
	}
	record := make([]byte, 92+6)
	for i := range record {
		record[i] = byte(i * 37)
	}
	text, err := c.AppendJSON(nil, record)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range c.Fields() {
		name := strings.Join(f.Path, ".")
		n, ok := c.Number(name)
		if !ok {
			continue
		}
		seen++
		v, ok := n.Load(record)
		if _, short := n.Load(nil); !ok || short || n.Meaning() != f.Meaning {
			t.Errorf("%s: %v, and %v of an empty record", name, ok, short)
		}
		got := fmt.Sprint(v)
		if n.Signed() {
			got = fmt.Sprint(int64(v))
		}
		var at any
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		if err := d.Decode(&at); err != nil {
			t.Fatal(err)
		}
		for _, member := range f.Path {
			at = at.(map[string]any)[member]
		}
		switch want := at.(type) {
		case json.Number:
			if got != want.String() {
				t.Errorf("%s is %s, JSON has %s", name, got, want)
			}
		case bool:
			if want != (v != 0) {
				t.Errorf("%s is %s, JSON has %v", name, got, want)
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d numbers", seen)
	}
	for _, name := range []string{"", "absent", "rest"} {
		if _, ok := c.Number(name); ok {
			t.Errorf("%q is a number", name)
		}
	}
}

func TestSignedNumbers(t *testing.T) {
	c, err := New(&btf.Struct{Name: "s", Size: 4, Members: []btf.Member{{Name: "a", Type: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}}}})
	if err != nil {
		t.Fatal(err)
	}
	n, ok := c.Number("a")
	if v, has := n.Load([]byte{255, 255, 255, 255}); !ok || !has || v != math.MaxUint64 || !n.Signed() {
		t.Errorf("got %#x, %v", v, has)
	}
}
