package dwarftype

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/sametype"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// object is a BPF object with BTF and DWARF.
const object = "../objects/testdata/owned_bpfel.o"

func read(t testing.TB, path string) *Data {
	t.Helper()
	return readUpTo(t, path, 1<<20)
}

func readUpTo(t testing.TB, path string, limit uint64) *Data {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := elffile.New(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	d, err := FromELF(e, limit)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// layout lists the members of a type: offset and size in bits, name, and type.
func layout(t btf.Type) (lines []string) {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		bits := m.BitfieldSize
		if size, err := btf.Sizeof(m.Type); err == nil && bits == 0 {
			bits = btf.Bits(size * 8)
		}
		lines = append(lines, fmt.Sprintf("%d:%d %s %s", m.Offset, bits, m.Name, describe(m.Type)))
	}
	return lines
}

func describe(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Array:
		return fmt.Sprintf("[%d]%s", t.Nelems, describe(t.Type))
	case *btf.Pointer:
		return "*" + describe(t.Target)
	case *btf.Const:
		return describe(t.Type)
	case *btf.Volatile:
		return describe(t.Type)
	case *btf.Void:
		return "void"
	case *btf.Union, *btf.Struct:
		if t.TypeName() == "" {
			return fmt.Sprint(layout(t))
		}
	case *btf.Int:
		return fmt.Sprintf("%s%d", map[btf.IntEncoding]string{btf.Signed: "s", btf.Bool: "b", btf.Unsigned: "u"}[t.Encoding], t.Size*8)
	}
	return t.TypeName()
}

var localLayout = []string{
	"0:64 time __u64",
	"64:32 color color",
	"96:1 flag __u32",
	"97:5 level __u32",
	"128:40 signed_bits __s64",
	"176:192 pairs [2][3]pair_t",
	"384:128  [0:32 v4 __u32 0:128 v6 [16]__u8]",
	"512:64 next *local",
	"576:40 text [5]s8",
	"616:8 last b8",
}

func TestTheTypeOfALocalVariable(t *testing.T) {
	d := read(t, object)
	got, ok := d.Local("produces", "record")
	if !ok || got.TypeName() != "local" {
		t.Fatalf("%v, %t", got, ok)
	}
	if diff := cmp.Diff(localLayout, layout(got)); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct{ function, variable, name string }{
		{"produces_what_is_declared", "e", "event"},
		{"produces_several", "o", "opened"},
		{"produces_several", "c", "closed"},
		{"produces", "o", ""},
		{"produces", "", ""},
		{"", "record", ""},
	} {
		got, ok := d.Local(test.function, test.variable)
		if ok != (test.name != "") || ok && got.TypeName() != test.name {
			t.Errorf("%s in %s: %v, %t, want %q", test.variable, test.function, got, ok, test.name)
		}
	}
}

// What the compiler writes as BTF is what this package makes of its DWARF.
func TestTypesAreThoseOfBTF(t *testing.T) {
	d := read(t, object)
	spec, err := btf.LoadSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, name := range d.Names() {
		fromBTF, err := spec.AnyTypesByName(name)
		if err != nil {
			continue // used only within functions
		}
		found := d.Named(name)
		if len(found) != 1 || len(fromBTF) != 1 || !sametype.Same(found[0], fromBTF[0]) {
			t.Errorf("%s: %v, want %v", name, found, fromBTF)
		}
		compared++
	}
	if compared < 3 {
		t.Errorf("only %d types in BTF", compared)
	}
	enums := d.Named("color")
	want := []btf.EnumValue{{Name: "RED", Value: 1}, {Name: "BLUE", Value: 1 << 20}, {Name: "NONE", Value: ^uint64(0)}}
	if e, ok := enums[0].(*btf.Enum); !ok || !e.Signed || !cmp.Equal(e.Values, want) {
		t.Errorf("%v", enums)
	}
	if found := d.Named("no such type"); found != nil {
		t.Errorf("%v", found)
	}
}

func TestStructsOfASize(t *testing.T) {
	d := read(t, object)
	for size, want := range map[int64][]string{20: {"event"}, 80: {"local"}, 4: {"closed", "pair_t"}, 21: nil} {
		var names []string
		for _, found := range d.Structs(size) {
			names = append(names, found.TypeName())
		}
		slices.Sort(names)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%d bytes: %s", size, diff)
		}
	}
}

func TestDWARFAsBTF(t *testing.T) {
	spec, err := read(t, object).Spec()
	if err != nil {
		t.Fatal(err)
	}
	var fn *btf.Func
	if err := spec.TypeByName("produces_several", &fn); err != nil {
		t.Error(err)
	}
	var local *btf.Struct
	if err := spec.TypeByName("local", &local); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(localLayout, layout(local)); diff != "" {
		t.Error(diff)
	}
}

// The struct of owned.bpf.c, as a program for this machine.
const source = `
typedef unsigned int __u32; typedef unsigned long long __u64; typedef long long __s64; typedef unsigned char __u8;
enum color { RED = 1, BLUE = 1 << 20, NONE = -1 };
typedef struct { unsigned short low, high; } pair_t;
struct local {
	__u64 time;
	enum color color;
	__u32 flag : 1, level : 5;
	__s64 signed_bits : 40;
	pair_t pairs[2][3];
	union { __u32 v4; __u8 v6[16]; };
	struct local *next;
	const volatile char text[5];
	_Bool last;
};
static inline int look(const struct local *inlined) { return inlined->color; }
int main(int argc, char **argv) { struct local *p = (void *)argv[1]; return look(p) + look(p + 1); }
`

func TestFormsOfDWARF(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		testenv.SkipWithout(t, "gcc", err)
	}
	for version := 2; version <= 5; version++ {
		t.Run(fmt.Sprint("DWARF ", version), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			cmd := exec.Command(cc, fmt.Sprintf("-gdwarf-%d", version), "-gstrict-dwarf", "-O1", "-x", "c", "-", "-o", out)
			cmd.Stdin = strings.NewReader(source)
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			d := read(t, out)
			for _, v := range []struct{ function, name string }{{"look", "inlined"}, {"main", "inlined"}, {"main", "p"}} {
				got, ok := d.Local(v.function, v.name)
				if !ok {
					t.Errorf("%s has no %s", v.function, v.name)
					continue
				}
				if diff := cmp.Diff(localLayout, layout(got)); diff != "" {
					t.Errorf("%s in %s: %s", v.name, v.function, diff)
				}
			}
		})
	}
}

// A file that is not linked has its references in relocations.
func TestARelocatableFile(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		testenv.SkipWithout(t, "gcc", err)
	}
	out := filepath.Join(t.TempDir(), "out.o")
	cmd := exec.Command(cc, "-g", "-c", "-x", "c", "-", "-o", out)
	cmd.Stdin = strings.NewReader(source)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	got, ok := read(t, out).Local("main", "p")
	if !ok || got.TypeName() != "local" {
		t.Fatalf("%v, %t", got, ok)
	}
	if diff := cmp.Diff(localLayout, layout(got)); diff != "" {
		t.Error(diff)
	}
}

func TestTypesOfGo(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		testenv.SkipWithout(t, "go-tool", err)
	}
	dir := t.TempDir()
	const program = "package main\n\ntype bpfEvent struct {\n\tPid uint32\n\tComm [16]int8\n}\n\nfunc main() {\n\te := new(bpfEvent)\n\tprintln(e, e.Pid)\n}\n"
	path := filepath.Join(dir, "main.go")
	if err := os.WriteFile(path, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(goTool, "build", "-o", "out", "main.go")
	cmd.Dir = dir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	d := readUpTo(t, filepath.Join(dir, "out"), 64<<20)
	names := d.Qualified("bpfEvent")
	if len(names) != 1 || names[0] != "main.bpfEvent" {
		t.Fatalf("%q", names)
	}
	found := d.Named(names[0])
	if len(found) != 1 {
		t.Fatal(found)
	}
	if comm := found[0].(*btf.Struct).Members[1].Type.(*btf.Array).Type; comm.TypeName() != "char" {
		t.Errorf("Comm is of %v, want char, as bpf2go means it", comm)
	}
	if diff := cmp.Diff([]string{"0:32 Pid u32", "32:128 Comm [16]s8"}, layout(found[0])); diff != "" {
		t.Error(diff)
	}
}

func TestMalformedDWARF(t *testing.T) {
	if _, err := New(Sections{}); !errors.Is(err, ErrFormat) {
		t.Errorf("nothing: %v", err)
	}
	long := append([]byte{1, 0x13, 0}, bytes.Repeat([]byte{3, 0x21, 1}, 100)...)
	if _, err := New(Sections{"abbrev": append(long, 0, 0, 0)}); !errors.Is(err, ErrFormat) {
		t.Errorf("an abbreviation of 100 attributes: %v", err)
	}
	e, err := elffile.New(bytes.NewReader(elfOf(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FromELF(e, 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file without: %v", err)
	}
}

// elfOf returns an ELF file without DWARF.
func elfOf(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "file")
	testenv.WriteELF(t, path, []byte{1}, "main")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzDWARF(f *testing.F) {
	file, err := elffile.Open(object)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	e, err := elffile.New(file)
	if err != nil {
		f.Fatal(err)
	}
	var parts [5][]byte
	names := []string{"info", "abbrev", "str", "str_offsets", "addr"}
	for i, name := range names {
		if parts[i], err = e.Content(".debug_"+name, 1<<20); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(parts[0], parts[1], parts[2], parts[3], parts[4])
	f.Fuzz(func(t *testing.T, info, abbrev, str, offsets, addr []byte) {
		got := testenv.Allocated(func() {
			d, err := New(Sections{"info": info, "abbrev": abbrev, "str": str, "str_offsets": offsets, "addr": addr})
			if err != nil {
				return
			}
			for _, name := range d.Names() {
				for _, found := range d.Named(name) {
					btf.Sizeof(found)
				}
			}
			for function, locals := range d.locals {
				for _, l := range locals {
					d.Local(function, l.name)
				}
			}
		})
		if most := uint64(256<<20 + 200*(len(info)+len(abbrev)+len(str)+len(offsets))); got > most {
			t.Errorf("%d bytes allocated, want at most %d", got, most)
		}
	})
}
