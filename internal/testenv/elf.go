package testenv

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"
)

// In a file written by WriteELF, the code is CodeSize bytes at offset CodeOffset, and is loaded at
// address CodeAddr: whole pages of up to 64 KiB.
const (
	CodeOffset = 0x10000
	CodeAddr   = 0x410000
	CodeSize   = 0x200
)

// WriteELF writes an ELF file with a build id, code, and functions of 0x80 bytes each.
func WriteELF(t testing.TB, path string, id []byte, functions ...string) {
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
			Value: CodeAddr + uint64(i)*0x80, Size: 0x80,
		})
		strs += f + "\x00"
	}
	const header, program, section = 64, 56, 64
	at := uint64(CodeOffset + CodeSize)
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
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X | elf.PF_R), Off: CodeOffset, Vaddr: CodeAddr, Filesz: CodeSize, Memsz: CodeSize})
	file.Write(make([]byte, CodeOffset+CodeSize-file.Len()))
	file.Write(note)
	put(syms)
	file.WriteString(strs)
	file.WriteString(names)
	put(sections)
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// InflateELF makes a file written by WriteELF a sparse file of size bytes, half of them symbols and
// half names of symbols. The functions remain.
func InflateELF(t testing.TB, path string, size int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	end := uint64(len(b))
	half := (uint64(size) - end) / 2 / elf.Sym64Size * elf.Sym64Size
	sections := b[le.Uint64(b[40:]):] // e_shoff
	for i, to := range map[int]uint64{2: end, 3: end + half} {
		h := sections[i*64:] // the Elf64_Shdr of the symbols (2) or of their names (3)
		at, old := le.Uint64(h[24:]), le.Uint64(h[32:])
		if _, err := f.WriteAt(b[at:at+old], int64(to)); err != nil {
			t.Fatal(err)
		}
		le.PutUint64(h[24:], to)   // sh_offset
		le.PutUint64(h[32:], half) // sh_size
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// Allocated returns how many bytes f allocates, including bytes that are freed again.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
