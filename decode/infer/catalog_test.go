package infer

import (
	"bytes"
	"debug/elf"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/rawbtf"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// rawBTF returns the bytes of the BTF of a case of the corpus.
func rawBTF(tb testing.TB, name string) []byte {
	tb.Helper()
	f, err := elf.Open("testdata/corpus/" + name + "_bpfel.o")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	raw, err := f.Section(".BTF").Data()
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func catalogOf(tb testing.TB, raw []byte) *catalog {
	tb.Helper()
	spec, err := rawbtf.Parse(raw)
	if err != nil {
		tb.Skip(err)
	}
	return newCatalog(spec)
}

func TestWhatBTFSaysOfRecords(t *testing.T) {
	c := catalogOf(t, rawBTF(t, "maps_value_type"))
	if diff := cmp.Diff("event", names(c.records("rb"))); diff != "" {
		t.Errorf("records of the ring: %s", diff)
	}
	if c.records("other") != nil {
		t.Error("records of a ring that the BTF does not declare")
	}
	if !c.hasFunction([]*recordflow.Site{{Func: "p"}}) || c.hasFunction([]*recordflow.Site{{Func: "q"}}) {
		t.Error("functions")
	}
	exported := catalogOf(t, rawBTF(t, "exported_type"))
	if found := exported.named("event", true); len(found) != 1 || exported.exported[found[0]] != "unused" {
		t.Errorf("exported: %v", exported.exported)
	}
	v, off, ok := catalogOf(t, rawBTF(t, "global_variable")).at("object.bss", 8)
	if !ok || v.name == "" || off+v.off != 8 {
		t.Errorf("variable %+v at %d, %t", v, off, ok)
	}
}

// FuzzCatalog reads hostile BTF.
func FuzzCatalog(f *testing.F) {
	for _, name := range []string{"maps_value_type", "exported_type", "typedef_anonymous", "tagged_union"} {
		f.Add(rawBTF(f, name))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := catalogOf(t, bytes.Clone(raw))
		c.records("rb")
		c.at(".bss", 8)
		for _, typ := range c.structs {
			misfit(typ, []recordflow.Write{{Off: 1, Size: 4, By: "bpf_get_current_comm"}})
			part(typ, 8, 0, 16)
			placesOf(typ)
		}
	})
}
