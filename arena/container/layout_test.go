package container

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
)

// Each field of a C struct has the same offset and size as the field of its name in the Go mirror.
func TestMirrorsMatchBTF(t *testing.T) {
	spec, err := arenaset.Spec()
	if err != nil {
		t.Fatal(err)
	}
	for name, mirror := range map[string]any{
		"arena_super": arenamem.Super{}, "arena_class": arenamem.Class{}, "arena_root": root{}, "arena_list": list{},
		"arena_queue": queue{}, "arena_table": table{}, "arena_node": node{},
	} {
		var c *btf.Struct
		if err := spec.Types.TypeByName(name, &c); err != nil {
			t.Fatal(err)
		}
		typ := reflect.TypeOf(mirror)
		if uintptr(c.Size) != typ.Size() {
			t.Errorf("%s: %d bytes in C, %d in Go", name, c.Size, typ.Size())
		}
		fields := map[string]reflect.StructField{}
		for i := range typ.NumField() {
			fields[strings.ToLower(typ.Field(i).Name)] = typ.Field(i)
		}
		for _, m := range c.Members {
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(m.Name, "unused") || size == 0 {
				continue
			}
			f, ok := fields[strings.ReplaceAll(m.Name, "_", "")]
			if !ok || uintptr(m.Offset.Bytes()) != f.Offset || uintptr(size) != f.Type.Size() {
				t.Errorf("%s: %s at %d, %d bytes in C; at %d, %d bytes in Go", name, m.Name, m.Offset.Bytes(), size, f.Offset, typeSize(f.Type))
			}
		}
	}
	if got := arenamem.ClassSize(arenamem.Classes - 1); got != 1<<31 {
		t.Errorf("the last class has blocks of %d bytes", got)
	}
}

func typeSize(t reflect.Type) uintptr {
	if t == nil {
		return 0
	}
	return t.Size()
}
