package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
		0: "", 0xffffffff80ffffff: "", 0xffffffff81000000: "", // the call before is in no function
		0xffffffff81000001: "first+0x1",
		0xffffffff81000100: "first+0x100", // behind its last instruction, a call
		0xffffffff81000101: "second+0x1",
		0xffffffff81000190: "second+0x90",
		0xffffffffc0000010: "other [module]+0x10",
	} {
		if got := k.Name(ip); got != want {
			t.Errorf("%#x is %q, want %q", ip, got, want)
		}
	}
	if _, err := readKernel(strings.NewReader("0000000000000000 T hidden\n")); !errors.Is(err, ErrHidden) {
		t.Errorf("%v, want ErrHidden", err)
	}
	if _, err := readKernel(strings.NewReader("xyz T name\n")); err == nil {
		t.Error("no address is taken for one")
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

// Where the file that writeELF makes has its code: at codeOffset, loaded at codeAddr.
const (
	codeOffset = 0x1000
	codeAddr   = 0x401000
	codeSize   = 0x200
)

// writeELF makes a file with a build id, code, and functions of 0x80 bytes each.
func writeELF(t *testing.T, path string, id []byte, functions ...string) {
	t.Helper()
	var file bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&file, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	names := "\x00.note.gnu.build-id\x00.symtab\x00.strtab\x00"
	note := append([]byte{4, 0, 0, 0, byte(len(id)), 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0}, id...)
	strs, syms := "\x00", []elf.Sym64{{}}
	for i, f := range functions {
		syms = append(syms, elf.Sym64{
			Name: uint32(len(strs)), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: 1,
			Value: codeAddr + uint64(i)*0x80, Size: 0x80,
		})
		strs += f + "\x00"
	}
	const header, program, section = 64, 56, 64
	at := uint64(codeOffset + codeSize)
	sections := []elf.Section64{{}}
	place := func(name string, typ elf.SectionType, size, entry int, link uint32) {
		sections = append(sections, elf.Section64{
			Name: uint32(strings.Index(names, name)), Type: uint32(typ), Off: at, Size: uint64(size), Entsize: uint64(entry), Link: link,
		})
		at += uint64(size)
	}
	place(".note.gnu.build-id", elf.SHT_NOTE, len(note), 0, 0)
	place(".symtab", elf.SHT_SYMTAB, len(syms)*elf.Sym64Size, elf.Sym64Size, 3)
	place(".strtab", elf.SHT_STRTAB, len(strs), 0, 0)
	place("\x00", elf.SHT_STRTAB, len(names), 0, 0)
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: header, Shoff: at, Ehsize: header,
		Phentsize: program, Phnum: 1, Shentsize: section, Shnum: uint16(len(sections)), Shstrndx: 4,
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	put(h)
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X | elf.PF_R), Off: codeOffset, Vaddr: codeAddr, Filesz: codeSize, Memsz: codeSize})
	file.Write(make([]byte, codeOffset+codeSize-file.Len()))
	file.Write(note)
	put(syms)
	file.WriteString(strs)
	file.WriteString(names)
	put(sections)
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	short := []byte{0xab, 0xcd, 0xef, 1, 2, 3, 4, 5}
	writeELF(t, path, short, "first", "second")
	id := append(short, make([]byte, idSize-len(short))...) // as the kernel gives it
	told, mapped := NewFiles(), NewFiles()
	told.Add(path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), codeOffset, codeSize, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
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
			{codeOffset, false, "first+0x0 (file)"}, {codeOffset, true, "file+0x1000"},
			{codeOffset + 5, true, "first+0x5 (file)"}, {codeOffset + 0x80, true, "first+0x80 (file)"},
			{codeOffset + 0x80, false, "second+0x0 (file)"}, {codeOffset + 0x101, true, "file+0x1101"}, {1 << 40, true, "file+0x10000000000"},
		} {
			if got := files.Name(id, test.offset, test.returns); got != test.want {
				t.Errorf("%s: %#x is %q, want %q", name, test.offset, got, test.want)
			}
		}
	}
}

// What is not there, is no file, or has no build id is told apart from what has another.
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
	f := NewFiles()
	for _, path := range []string{fifo, text, dir, filepath.Join(dir, "missing"), "relative", "/dev/zero"} {
		f.Add(path)
	}
	id := append([]byte{1, 2, 3}, make([]byte, 17)...)
	if got, want := f.Name(id, 0x10, true), "build-id 010203+0x10"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
