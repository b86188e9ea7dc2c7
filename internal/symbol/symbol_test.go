package symbol

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestKernelNames(t *testing.T) {
	k, err := readKernel(strings.NewReader(`ffffffff81000100 T second
ffffffff81000000 t first
ffffffff81000180 d data
ffffffffc0000000 t other	[module]
`))
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[uint64]string{
		0: "", 0xffffffff80ffffff: "", 0xffffffff81000000: "", // no function contains the call before these
		0xffffffff81000001: "first+0x1",
		0xffffffff81000100: "first+0x100", // the return address of a call that is the last instruction of "first"
		0xffffffff81000101: "second+0x1",
		0xffffffff81000190: "second+0x90",
		0xffffffffc0000010: "other [module]+0x10",
	} {
		if got := k.Name(ip); got != want {
			t.Errorf("%#x is %q, want %q", ip, got, want)
		}
	}
	for address, want := range map[uint64]string{
		0: "", 0xffffffff80ffffff: "", 0xffffffff81000000: "first+0x0", 0xffffffff81000100: "second+0x0", 0xffffffff810100ff: "second+0xffff",
		0xffffffff81010100: "", // data after the functions
	} {
		if got := k.At(address); got != want {
			t.Errorf("at %#x is %q, want %q", address, got, want)
		}
	}
	if _, err := readKernel(strings.NewReader("0000000000000000 T hidden\n")); !errors.Is(err, ErrHidden) {
		t.Errorf("%v, want ErrHidden", err)
	}
	broken := errors.New("broken")
	if _, err := readKernel(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

func TestTheRunningKernel(t *testing.T) {
	k, err := ReadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range k.functions {
		if f.name == "do_exit" {
			if got := k.Name(f.addr + 5); got != "do_exit+0x5" {
				t.Errorf("it is %q", got)
			}
			return
		}
	}
	t.Error("no do_exit")
}

func TestFileNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	short := []byte{0xab, 0xcd, 0xef, 1, 2, 3, 4, 5}
	testenv.WriteELF(t, path, short, "first", "second")
	id := append(short, make([]byte, elffile.BuildIDSize-len(short))...) // the id padded with zeros, as the kernel reports it
	told, mapped := NewFiles(), NewFiles()
	told.Add(path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), testenv.CodeOffset, testenv.CodeSize, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	for name, files := range map[string]*Files{"told of": told, "mapped by a process": mapped} {
		for _, test := range []struct {
			offset  uint64
			returns bool
			want    string
		}{
			{testenv.CodeOffset, false, "first+0x0 (file)"}, {testenv.CodeOffset, true, "file+0x10000"},
			{testenv.CodeOffset + 5, true, "first+0x5 (file)"}, {testenv.CodeOffset + 0x80, true, "first+0x80 (file)"},
			{testenv.CodeOffset + 0x80, false, "second+0x0 (file)"}, {testenv.CodeOffset + 0x101, true, "file+0x10101"}, {1 << 40, true, "file+0x10000000000"},
		} {
			if got, found := files.Name(id, test.offset, test.returns); got != test.want || !found {
				t.Errorf("%s: %#x is %q (%v), want %q", name, test.offset, got, found, test.want)
			}
		}
	}
}

// Add ignores everything but ELF files with a build id.
func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("\x7fELF and no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := uninstalled()
	for _, path := range []string{fifo, text, dir, filepath.Join(dir, "missing"), "relative", "/dev/zero"} {
		f.Add(path)
	}
	id := append([]byte{1, 2, 3}, make([]byte, 17)...)
	if got, found := f.Name(id, 0x10, true); got != "build-id 010203+0x10" || found {
		t.Errorf("%q (%v)", got, found)
	}
}
