package gotype

import (
	"context"
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
	"github.com/rbtool/rbtool/internal/testenv"
)

// program has structs that its runtime knows, since they are in an interface or allocated, and one that it does not know.
const program = `package main

import (
	"structs"
	"unsafe"
)

type kind uint32

type header struct {
	Kind  kind
	Flags [2]uint16
}

type bpfEvent struct {
	_      structs.HostLayout
	Header header
	Ts     uint64
	Comm   [16]int8
	Ok     bool
	Ratio  float64
	Cells  [2][3]uint8
	Sub    struct{ a int16 }
}

type pair[T any] struct{ A, B T }

type allocated struct {
	Pid uint32
	_   [4]byte
	End struct{}
}

type (
	pointer struct{ P *int }
	text    struct{ S string }
	complex struct{ C complex128 }
	cast    struct{ A, B, C uint64 }
)

var (
	sink any
	heap *allocated
)

func main() {
	sink = &bpfEvent{}
	sink = &pair[uint32]{}
	sink = &pointer{}
	sink = &text{}
	sink = &complex{}
	heap = new(allocated)
	var b [24]byte
	println((*cast)(unsafe.Pointer(&b)).B)
}
`

// layouts are the structs of the program.
var layouts = map[string]string{
	"main.header":       "8: Kind 0 uint32, Flags 4 [2]uint16",
	"main.bpfEvent":     "56: Header 0 main.header, Ts 8 uint64, Comm 16 [16]char, Ok 32 bool, Ratio 40 float64, Cells 48 [2][3]uint8, Sub 54 struct",
	"main.pair[uint32]": "8: A 0 uint32, B 4 uint32",
	"main.allocated":    "12: Pid 0 uint32, _ 4 [4]uint8",
}

// layout shows a struct.
func layout(t btf.Type) string {
	s, ok := t.(*btf.Struct)
	if !ok {
		return t.TypeName()
	}
	var members []string
	for _, m := range s.Members {
		members = append(members, fmt.Sprintf("%s %d %s", m.Name, m.Offset.Bytes(), name(m.Type)))
	}
	return fmt.Sprintf("%d: %s", s.Size, strings.Join(members, ", "))
}

func name(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Array:
		return fmt.Sprintf("[%d]%s", t.Nelems, name(t.Type))
	case *btf.Struct:
		if t.Name == "" {
			return "struct"
		}
	}
	return t.TypeName()
}

// read reads the types of a file.
func read(t testing.TB, path string) (*Data, error) {
	t.Helper()
	f, err := elffile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := elffile.New(f)
	if err != nil {
		t.Fatal(err)
	}
	return FromELF(t.Context(), e, 64<<20)
}

func TestStructsOfStrippedExecutables(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		testenv.SkipWithout(t, "go-tool", err)
	}
	for _, mode := range []string{"exe", "pie"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(goTool, "build", "-buildmode="+mode, "-ldflags=-s -w", "-o", "out", "main.go")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			d, err := read(t, filepath.Join(dir, "out"))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, name := range d.Names() {
				if types := d.Named(name); strings.HasPrefix(name, "main.") {
					got[name] = layout(types[0])
				}
			}
			if diff := cmp.Diff(layouts, got); diff != "" {
				t.Error(diff)
			}
			if !slices.ContainsFunc(d.Structs(56), func(t btf.Type) bool { return t.TypeName() == "main.bpfEvent" }) {
				t.Errorf("of 56 bytes: %v", d.Structs(56))
			}
			if diff := cmp.Diff([]string{"main.bpfEvent"}, d.Qualified("bpfEvent")); diff != "" {
				t.Error(diff)
			}
			spec, err := d.Spec("main.bpfEvent")
			if err != nil {
				t.Fatal(err)
			}
			if event, err := spec.AnyTypeByName("main.bpfEvent"); err != nil || layout(event) != layouts["main.bpfEvent"] {
				t.Errorf("in BTF: %v, %v", event, err)
			}
		})
	}
}

// The test itself is an executable of this version of Go, in guests too.
func TestTheRunningExecutable(t *testing.T) {
	type ownEvent struct {
		Pid  uint32
		Comm [12]byte
	}
	testenv.Allocated(func() { _ = fmt.Sprint(&ownEvent{}) })
	d, err := read(t, "/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Named("gotype.ownEvent"); len(got) != 1 || layout(got[0]) != "16: Pid 0 uint32, Comm 4 [12]uint8" {
		t.Errorf("%v", got)
	}
}

func TestOtherExecutables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	testenv.WriteELF(t, path, []byte{1}, "main")
	if _, err := read(t, path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not in Go: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := FromELF(ctx, open(t, image(nil)), 1<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}
