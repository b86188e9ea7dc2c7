package elffile

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// written returns the bytes of an ELF file with two functions.
func written(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "file")
	testenv.WriteELF(t, path, []byte{1, 2, 3}, "first", "second")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeadersNotesAndFunctions(t *testing.T) {
	f, err := New(bytes.NewReader(written(t)))
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.BuildID()
	if want := append([]byte{1, 2, 3}, make([]byte, 17)...); err != nil || !bytes.Equal(id, want) {
		t.Errorf("build id %x, %v", id, err)
	}
	want := []Function{{testenv.CodeAddr, 0x80, "first"}, {testenv.CodeAddr + 0x80, 0x80, "second"}}
	functions, size := f.Functions()
	if diff := cmp.Diff(want, functions); diff != "" || size < 64 {
		t.Errorf("%s, %d bytes", diff, size)
	}
	if f.Type != elf.ET_EXEC || len(f.Segments) != 1 || f.Segments[0].Vaddr != testenv.CodeAddr {
		t.Errorf("%v, segments %+v", f.Type, f.Segments)
	}
}

// The Go linker made the test binary: no PT_NOTE segment covers the section with its build id.
func TestWhatDebugELFReadsOfThisProgram(t *testing.T) {
	file, err := Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f, err := New(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := elf.NewFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := other.Section(".note.gnu.build-id"); s != nil {
		note, err := s.Data()
		id, errID := f.BuildID()
		if err != nil || errID != nil || !bytes.Equal(id, note[16:36]) {
			t.Errorf("build id %x, %v; the note is %x, %v", id, errID, note, err)
		}
	}
	symbols, _ := other.Symbols() // go test strips all symbols except those of C code
	dynamic, _ := other.DynamicSymbols()
	var want []Function
	for _, s := range slices.Concat(symbols, dynamic) {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value != 0 && s.Section != elf.SHN_UNDEF {
			want = append(want, Function{s.Value, s.Size, s.Name})
		}
	}
	functions, _ := f.Functions()
	if diff := cmp.Diff(want, functions, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// Reading takes a bounded amount of memory, whatever the size of the file and the values in its headers.
func TestMemoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, size := range []int64{200 << 20, 8 << 30} {
		testenv.WriteELF(t, path, []byte{1}, "function")
		testenv.InflateELF(t, path, size)
		got := testenv.Allocated(func() {
			file, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			f, err := New(file)
			if err != nil {
				t.Fatal(err)
			}
			f.Functions()
		})
		if got > 1<<20 {
			t.Errorf("%d bytes allocated for a file of %d whose tables exceed the bounds", got, size)
		}
	}
	// This file has the largest tables that are accepted. All its symbols share one long name.
	got := testenv.Allocated(func() {
		f := &File{r: same('A'), wide: true, order: binary.LittleEndian, Sections: []elf.SectionHeader{
			{Type: elf.SHT_SYMTAB, Size: maxFunctions * elf.Sym64Size, Entsize: elf.Sym64Size, Link: 1},
			{Type: elf.SHT_STRTAB, Size: maxNames},
		}}
		if functions, _ := f.Functions(); len(functions) != 0 { // the symbols have type 'A', which is not STT_FUNC
			t.Errorf("%d functions", len(functions))
		}
		f.r = same(elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC))
		functions, size := f.Functions()
		if len(functions) != maxFunctions || size > 40<<20 {
			t.Errorf("%d functions, %d bytes", len(functions), size)
		}
	})
	if got > 128<<20 {
		t.Errorf("%d bytes allocated for tables at the bounds", got)
	}
}

// same is an endless file in which all bytes are the same.
type same byte

func (s same) ReadAt(b []byte, _ int64) (int, error) {
	for i := range b {
		b[i] = byte(s)
	}
	return len(b), nil
}

func TestHeadersBeyondTheBoundsAreRefused(t *testing.T) {
	le := binary.LittleEndian
	for name, damage := range map[string]func(b []byte){
		"many segments":        func(b []byte) { le.PutUint16(b[56:], 0xffff) },
		"many sections":        func(b []byte) { le.PutUint16(b[60:], 0xffff) },
		"sections far away":    func(b []byte) { le.PutUint64(b[40:], 1<<63) },
		"segments beyond":      func(b []byte) { le.PutUint64(b[32:], uint64(len(b)-8)) },
		"no ELF":               func(b []byte) { b[0] = 0 },
		"sections at the end":  func(b []byte) { le.PutUint64(b[40:], uint64(len(b))) },
		"segments that wrap":   func(b []byte) { le.PutUint64(b[32:], ^uint64(0)) },
		"no file at all":       func(b []byte) { clear(b) },
		"another ELF's header": func(b []byte) { b[elf.EI_DATA] = byte(elf.ELFDATA2MSB) },
	} {
		t.Run(name, func(t *testing.T) {
			b := written(t)
			damage(b)
			if _, err := New(bytes.NewReader(b)); !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
		})
	}
}

// Open refuses everything but regular files, and does not block.
func TestOpenRefusesWhatIsNoRegularFile(t *testing.T) {
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link, dir, "/dev/zero", "/dev/tty"} {
		if f, err := Open(path); err == nil || !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", path, f, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func FuzzFile(f *testing.F) {
	b := written(f)
	f.Add(b)
	for _, at := range []int{elf.EI_CLASS, elf.EI_DATA} {
		other := bytes.Clone(b)
		other[at] = 3 - other[at]
		f.Add(other)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := testenv.Allocated(func() {
			e, err := New(bytes.NewReader(b))
			if err != nil {
				return
			}
			e.BuildID()
			functions, size := e.Functions()
			if size > 80<<20 || len(functions) > 2*maxFunctions {
				t.Errorf("%d functions of %d bytes", len(functions), size)
			}
			for _, fn := range functions {
				if len(fn.Name) > maxName {
					t.Errorf("a name of %d bytes", len(fn.Name))
				}
			}
		})
		if got > uint64(128<<20) {
			t.Errorf("%d bytes allocated for %d", got, len(b))
		}
	})
}

func TestContentOfASection(t *testing.T) {
	b := written(t)
	f, err := New(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	names, err := f.Content(".strtab", 100)
	if err != nil || string(names) != "\x00first\x00second\x00" {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := f.Content(".strtab", 5); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	if _, err := f.Content(".str", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want fs.ErrNotExist", err)
	}
	f.Sections[3].Flags |= elf.SHF_COMPRESSED
	if _, err := f.Content(".strtab", 100); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge for an unknown compression", err)
	}
}

func TestContentOfACompressedSection(t *testing.T) {
	compressed := func(claimed uint64) *File {
		b := bytes.NewBuffer(written(t))
		start := b.Len()
		binary.Write(b, binary.LittleEndian, elf.Chdr64{Type: uint32(elf.COMPRESS_ZLIB), Size: claimed, Addralign: 1})
		z := zlib.NewWriter(b)
		z.Write(make([]byte, 1<<20))
		z.Close()
		f, err := New(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		f.Sections[3].Flags |= elf.SHF_COMPRESSED
		f.Sections[3].Offset, f.Sections[3].Size = uint64(start), uint64(b.Len()-start)
		return f
	}
	if b, err := compressed(1<<20).Content(".strtab", 1<<20); err != nil || len(b) != 1<<20 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := compressed(1<<20).Content(".strtab", 1<<20-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	for _, claimed := range []uint64{1<<20 - 1, 1<<20 + 1} {
		if _, err := compressed(claimed).Content(".strtab", 1<<21); !errors.Is(err, ErrFormat) {
			t.Errorf("%v, want ErrFormat for a wrong size", err)
		}
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(path, 5); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	var err error
	got := testenv.Allocated(func() { _, err = ReadFile(path, 5) })
	if !errors.Is(err, ErrTooLarge) || got > 64<<10 {
		t.Errorf("%v, %d bytes allocated", err, got)
	}
	if _, err := readAll(same('a'), 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

// Read implements [io.Reader], without an end.
func (s same) Read(b []byte) (int, error) { return s.ReadAt(b, 0) }
