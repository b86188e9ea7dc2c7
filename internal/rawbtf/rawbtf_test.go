package rawbtf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/testenv"
)

// rawBTF returns BTF of these types, each as its words, and strings.
func rawBTF(types [][]uint32, strings string) []byte {
	var b, body bytes.Buffer
	for _, words := range types {
		binary.Write(&body, binary.LittleEndian, words)
	}
	header := []uint32{0x0001eb9f, 24, 0, uint32(body.Len()), uint32(body.Len()), uint32(len(strings))}
	binary.Write(&b, binary.LittleEndian, header)
	b.Write(body.Bytes())
	b.WriteString(strings)
	return b.Bytes()
}

// pointers returns n pointers, each to the one that next returns.
func pointers(n int, next func(id uint32) uint32) (types [][]uint32) {
	for id := uint32(1); int(id) <= n; id++ {
		types = append(types, []uint32{0, kindPtr << 24, next(id)})
	}
	return types
}

func TestParse(t *testing.T) {
	const many = maxNesting + 10
	forward := func(id uint32) uint32 { return (id + 1) % (many + 1) }
	backward := func(id uint32) uint32 { return id - 1 }
	long := "\x00" + string(bytes.Repeat([]byte("n"), 1<<20)) + "\x00"
	members := []uint32{0, kindStruct<<24 | 100, 0}
	for range 100 {
		members = append(members, 1, 0, 0) // each with the long name
	}
	for _, test := range []struct {
		rule string
		raw  []byte
		ok   bool
	}{
		{"a struct without members", rawBTF([][]uint32{{1, kindStruct << 24, 0}}, "\x00event\x00"), true},
		{"types in each other, few", rawBTF(pointers(1000, func(id uint32) uint32 { return (id + 1) % 1001 }), "\x00"), true},
		{"types in each other, too many in one chain", rawBTF(pointers(many, forward), "\x00"), false},
		{"as many, each in one that is parsed already", rawBTF(pointers(many, backward), "\x00"), true},
		{"a long name for each of many members", rawBTF([][]uint32{members}, long), false},
		{"an unknown kind", rawBTF([][]uint32{{0, 31 << 24, 0}}, "\x00"), false},
		{"a truncated type", rawBTF([][]uint32{{0, kindArray << 24, 0}}, "\x00"), false},
		{"sections outside", rawBTF(nil, "\x00")[:24], false},
		{"no BTF", []byte("some text that is longer than a header of BTF"), false},
		{"nothing", nil, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var spec *btf.Spec
			var err error
			got := testenv.Allocated(func() { spec, err = Parse(test.raw) })
			if (err == nil) != test.ok || err != nil && !errors.Is(err, ErrFormat) {
				t.Fatalf("%v, want an error: %t", err, !test.ok)
			}
			if got > 32<<20 {
				t.Errorf("%d bytes allocated", got)
			}
			if test.ok {
				for _, err := range spec.All() {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	b, err := btf.NewBuilder([]btf.Type{&btf.Func{Name: "f", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
		Return: &btf.Int{Name: "int", Size: 4}, Params: []btf.FuncParam{{Name: "e", Type: &btf.Pointer{Target: &btf.Struct{Name: "event"}}}},
	}}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(rawBTF(pointers(10, func(id uint32) uint32 { return id % 10 }), "\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := testenv.Allocated(func() {
			spec, err := Parse(raw)
			if err != nil {
				return
			}
			for range spec.All() {
			}
		})
		if most := uint64(16<<20 + 200*len(raw)); got > most {
			t.Errorf("%d bytes allocated for %d", got, len(raw))
		}
	})
}
