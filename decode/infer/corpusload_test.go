package infer_test

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/testenv"
)

// loader is a way to load the objects of a case. Each object is an ELF file. The objects after the first use
// the ring of the first.
type loader struct {
	name string
	load func(t testing.TB, objects [][]byte) *loaded
	// owners are executables of another process that owns the ring then, by whether their objects are stripped.
	owners map[bool]string
}

var loaders = []loader{{name: "cilium", load: withCilium}, {name: "libbpf", load: withLibbpf}}

// ringName is the name of the ring in all programs of the corpus.
const ringName = "rb"

// loaded are objects in the kernel.
type loaded struct {
	ring     *ebpf.Map
	programs map[string]*ebpf.Program
	close    func()
}

// withoutBTF reports whether no program has BTF.
func (l *loaded) withoutBTF(t testing.TB) bool {
	t.Helper()
	for _, p := range l.programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := info.BTFID(); ok {
			return false
		}
	}
	return true
}

// expects reports whether the case has an answer for a loader.
func (c *corpusCase) expects(loader string) bool { return len(c.wanted(loader)) > 0 }

// load loads the objects of the case.
func (c *corpusCase) load(t testing.TB, l loader, strip bool) *loaded {
	t.Helper()
	if f, ok := feature.Find(c.needs); ok {
		if err := f.Have(); err != nil {
			testenv.SkipWithout(t, f.Name, err)
		}
	} else if c.needs != "" {
		t.Fatalf("no feature %s", c.needs)
	}
	var objects [][]byte
	for _, name := range []string{c.name, c.with} {
		if name == "" {
			continue
		}
		object, err := os.ReadFile(filepath.Join(corpus, name+"_bpfel.o"))
		if err != nil {
			t.Fatal(err)
		}
		if strip {
			object = stripped(t, object)
		}
		objects = append(objects, without(t, object, func(section string) bool {
			return slices.Contains(c.without, section)
		}))
	}
	run := l.load(t, objects)
	if file := l.owners[strip]; file != "" {
		run.ownedBy(t, file)
	}
	return run
}

// stripped returns an object without its DWARF, as llvm-strip -g writes it.
func stripped(t testing.TB, object []byte) []byte {
	t.Helper()
	return without(t, object, func(section string) bool { return strings.HasPrefix(section, ".debug_") })
}

// without returns an ELF file without some of its sections and their relocations. Nothing else moves.
func without(t testing.TB, object []byte, drop func(section string) bool) []byte {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	object = bytes.Clone(object)
	var h elf.Header64
	if err := binary.Read(bytes.NewReader(object), binary.LittleEndian, &h); err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Sections {
		if drop(strings.TrimPrefix(s.Name, ".rel")) {
			clear(object[s.Offset:][:s.FileSize])
			clear(object[h.Shoff+uint64(i)*uint64(h.Shentsize):][:h.Shentsize])
		}
	}
	return object
}

// withCilium loads objects with cilium/ebpf. This process owns them.
func withCilium(t testing.TB, objects [][]byte) *loaded {
	t.Helper()
	l := &loaded{programs: map[string]*ebpf.Program{}}
	var opened []*ebpf.Collection
	l.close = func() {
		for _, coll := range opened {
			coll.Close()
		}
	}
	for _, object := range objects {
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		var opts ebpf.CollectionOptions
		if l.ring != nil {
			opts.MapReplacements = map[string]*ebpf.Map{ringName: l.ring}
		}
		coll, err := ebpf.NewCollectionWithOptions(spec, opts)
		if err != nil {
			t.Fatalf("%+v", err)
		}
		opened = append(opened, coll)
		for name, p := range coll.Programs {
			l.programs[name] = p
		}
		if l.ring == nil {
			l.ring = coll.Maps[ringName]
		}
	}
	return l
}

// withLibbpf loads objects with bpftool, which uses libbpf. No process owns them: they are pinned.
func withLibbpf(t testing.TB, objects [][]byte) *loaded {
	t.Helper()
	bpftool, err := exec.LookPath("bpftool")
	if err != nil {
		testenv.SkipWithout(t, "bpftool", err)
	}
	l := &loaded{programs: map[string]*ebpf.Program{}}
	dir := testenv.BPFFS(t)
	ring := filepath.Join(dir, "m0", ringName)
	for i, object := range objects {
		file := filepath.Join(t.TempDir(), "object.bpf.o")
		if err := os.WriteFile(file, object, 0o600); err != nil {
			t.Fatal(err)
		}
		programs := filepath.Join(dir, fmt.Sprint("p", i))
		args := []string{"prog", "loadall", file, programs}
		if i > 0 {
			args = append(args, "map", "name", ringName, "pinned", ring)
		}
		args = append(args, "pinmaps", filepath.Join(dir, fmt.Sprint("m", i)))
		if out, err := exec.Command(bpftool, args...).CombinedOutput(); err != nil {
			t.Fatalf("bpftool: %v\n%s", err, out)
		}
		pins, err := os.ReadDir(programs)
		if err != nil {
			t.Fatal(err)
		}
		for _, pin := range pins {
			if l.programs[pin.Name()], err = ebpf.LoadPinnedProgram(filepath.Join(programs, pin.Name()), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if l.ring, err = ebpf.LoadPinnedMap(ring, nil); err != nil {
		t.Fatal(err)
	}
	l.close = func() {
		l.ring.Close()
		for _, p := range l.programs {
			p.Close()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
	return l
}

// records runs the programs and returns the records that they put into the ring.
func (c *corpusCase) records(t testing.TB, l *loaded) (records [][]byte) {
	t.Helper()
	if c.feed != nil {
		return c.feed
	}
	r, err := consumer.NewReader(l.ring, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, name := range c.programs {
		p := l.programs[name]
		if p == nil {
			t.Fatalf("no program %s", name)
		}
		opts := &ebpf.RunOptions{}
		if p.Type() == ebpf.XDP || p.Type() == ebpf.SchedCLS {
			opts.Data = make([]byte, 64)
		}
		if _, err := p.Run(opts); err != nil {
			t.Fatal(err)
		}
		rec, err := r.Read(ctx)
		if err != nil {
			t.Fatalf("read the record of %s: %v", name, err)
		}
		records = append(records, bytes.Clone(rec.Data))
	}
	return records
}
