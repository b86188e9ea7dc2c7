package objects

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/testenv"
)

// owned returns testdata/owned.bpf.c as compiled, with DWARF.
func owned(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/owned_bpfel.o")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withoutBTF returns the object without a section of BTF.
func withoutBTF(t testing.TB) []byte {
	t.Helper()
	b := bytes.Replace(owned(t), []byte("\x00.rel.BTF\x00"), []byte("\x00.rel.OTH\x00"), 1)
	if bytes.Equal(b, owned(t)) {
		t.Fatal("the object has no name .rel.BTF, whose end is the name of .BTF")
	}
	return b
}

// executable returns an ELF file for another machine that has the objects in a section of data, each at an
// odd offset.
func executable(t testing.TB, objects ...[]byte) []byte {
	t.Helper()
	path := t.TempDir() + "/file"
	testenv.WriteELF(t, path, []byte{1}, "main")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start := len(b)
	for _, o := range objects {
		b = append(append(b, 0), o...)
		if len(b)%2 == 0 {
			b = append(b, 0)
		}
	}
	// The note of the build id becomes the section of data, since its header is the first.
	h := b[binary.LittleEndian.Uint64(b[40:])+64:]
	binary.LittleEndian.PutUint32(h[4:], 1) // SHT_PROGBITS
	binary.LittleEndian.PutUint64(h[8:], 2) // SHF_ALLOC
	binary.LittleEndian.PutUint64(h[24:], uint64(start))
	binary.LittleEndian.PutUint64(h[32:], uint64(len(b)-start))
	return b
}

func scanned(t testing.TB, b []byte) []*Object {
	t.Helper()
	found, err := Scan(context.Background(), bytes.NewReader(b), int64(len(b)), "file")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestObjectsAreFoundInAnyFile(t *testing.T) {
	o := owned(t)
	far := append(bytes.Repeat([]byte("\x7fELF"), chunk/4-3), o...) // it starts in one chunk and ends in the next
	for _, test := range []struct {
		rule    string
		file    []byte
		offsets []int64
	}{
		{"the file itself", o, []int64{0}},
		{"raw bytes", append([]byte("abc"), o...), []int64{3}},
		{"across chunks", far, []int64{chunk - 12}},
		{"an executable's data", executable(t, o, withoutBTF(t)), []int64{0, 1}},
		{"an executable without", executable(t), nil},
		{"behind an executable", append(executable(t), o...), []int64{int64(len(executable(t)))}},
		{"a truncated object", o[:len(o)-1], nil},
		{"an object's beginning", executable(t, o[:200]), nil},
		{"nothing", nil, nil},
		{"two in raw bytes", append(append([]byte{7}, o...), o...), []int64{1, int64(len(o)) + 1}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			found := scanned(t, test.file)
			if len(found) != len(test.offsets) {
				t.Fatalf("%d objects, want %d: %v", len(found), len(test.offsets), found)
			}
			for i, f := range found {
				if !slices.Contains(f.Programs, "produces_several") {
					t.Errorf("programs of %s: %q", f, f.Programs)
				}
				if want := test.offsets[i]; want > 1 && f.Offset != want {
					t.Errorf("offset %d, want %d", f.Offset, want)
				}
			}
		})
	}
}

func TestMapsSayTheirTypes(t *testing.T) {
	o := scanned(t, owned(t))[0]
	for _, test := range []struct {
		name, value string
		size        int
		values      []string
	}{
		{"declared", "event", 20, nil},
		{"several_kinds_of_records", "", 8, []string{"opened", "closed"}},
		{"several_kinds_o", "", 8, []string{"opened", "closed"}}, // as the kernel cuts it
		{"undeclared", "", -1, nil},
	} {
		def, ok := o.Map(test.name)
		if !ok || def.Type != 27 { // BPF_MAP_TYPE_RINGBUF
			t.Errorf("%s: %+v, %t", test.name, def, ok)
			continue
		}
		if size, err := sizeof(def.Value); size != test.size || def.Value != nil && def.Value.TypeName() != test.value {
			t.Errorf("%s: value %v of %d bytes, %v", test.name, def.Value, size, err)
		}
		var names []string
		for _, v := range def.Values {
			names = append(names, v.TypeName())
		}
		if diff := cmp.Diff(test.values, names); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	if def, ok := o.Map("declare"); ok {
		t.Errorf("found %+v by a part of its name", def)
	}
	if defs := scanned(t, withoutBTF(t))[0].Maps(); len(defs) != 0 {
		t.Errorf("without BTF: %+v", defs)
	}
}

func sizeof(t btf.Type) (int, error) {
	if t == nil {
		return -1, nil
	}
	return btf.Sizeof(t)
}

func TestAnObjectWithoutBTFSaysSo(t *testing.T) {
	if _, err := scanned(t, withoutBTF(t))[0].Spec(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want an error matching fs.ErrNotExist", err)
	}
}

func TestLocalVariables(t *testing.T) {
	o := scanned(t, executable(t, withoutBTF(t)))[0]
	if got, ok := o.Local("produces", "record"); !ok || got.TypeName() != "local" {
		t.Errorf("%v, %t", got, ok)
	}
	b := bytes.Replace(owned(t), []byte("\x00.debug_info\x00"), []byte("\x00.other_info\x00"), 1)
	b = bytes.Replace(b, []byte("\x00.rel.debug_info\x00"), []byte("\x00.rel.other_info\x00"), 1)
	o = scanned(t, b)[0]
	if got, ok := o.Local("produces", "record"); ok {
		t.Errorf("without DWARF: %v", got)
	}
	if _, err := o.DWARF(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want an error matching fs.ErrNotExist", err)
	}
}

func TestTheScanEndsWithItsContext(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	file := executable(t, owned(t))
	if _, err := Scan(ctx, bytes.NewReader(file), int64(len(file)), "file"); !errors.Is(err, why) {
		t.Errorf("%v, want the cause", err)
	}
}

// A file with more objects than anybody embeds costs no more than the bound.
func TestTheScanIsBounded(t *testing.T) {
	o := owned(t)
	b := bytes.Clone(o)
	h := b[binary.LittleEndian.Uint64(b[40:])+64:]
	binary.LittleEndian.PutUint64(h[24:], 0)
	binary.LittleEndian.PutUint64(h[32:], 3<<20) // each object claims the 3 MiB that follow
	file := append([]byte{0}, bytes.Repeat(b, 5<<20/len(b))...)
	_, err := Scan(context.Background(), bytes.NewReader(file), int64(len(file)), "file")
	if !errors.Is(err, elffile.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
}

// BenchmarkScan scans a large file without objects, one byte in 32 of which is the first of an ELF file.
func BenchmarkScan(b *testing.B) {
	file := bytes.Repeat([]byte("some text, \x7f then more of it\x00\x01\x02\x03"), 200<<20/32)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if found := scanned(b, file); len(found) > 0 {
			b.Fatal(found)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add(owned(f))
	f.Add(executable(f, owned(f)))
	f.Add(withoutBTF(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := testenv.Allocated(func() {
			found, _ := Scan(context.Background(), bytes.NewReader(b), int64(len(b)), "file")
			for _, o := range found {
				o.Maps()
				o.Fits(Names{Ring: "declared", Programs: o.Programs, Lines: []string{"x"}})
				o.Local("produces", "record")
				if spec, err := o.Spec(); err == nil {
					for range spec.All() {
					}
				}
			}
		})
		if got > 64<<20+200*uint64(len(b)) {
			t.Errorf("%d bytes allocated for %d", got, len(b))
		}
	})
}
