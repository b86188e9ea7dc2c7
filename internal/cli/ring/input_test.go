package ring

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

// JSON is much longer than its record if an array repeats the names of members and enumerators.
func TestJSONOfManyNamesIsRead(t *testing.T) {
	state := &btf.Enum{Name: "state", Size: 1, Values: []btf.EnumValue{{Name: "STATE_" + strings.Repeat("X", 40), Value: 0}}}
	entry := &btf.Struct{Name: "entry", Size: 1, Members: []btf.Member{{Name: "a_member_" + strings.Repeat("x", 40), Type: state}}}
	const size = 32 << 10
	codec, err := decode.New(&btf.Array{Index: &btf.Int{Size: 4}, Type: entry, Nelems: size})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, size)
	text, err := codec.AppendJSON(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := newSampleReader(bytes.NewReader(text), "json", size, codec.AppendRecord).next()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of JSON: got %d bytes, %v", len(text), len(got), err)
	}
}
