package elffile

import (
	"debug/elf"
	"fmt"
	"io"
	"strings"
)

// Bounds of a symbol table. Names longer than the bound are truncated.
const (
	maxSymbols   = 1 << 19
	maxFunctions = 1 << 18
	maxNames     = 32 << 20 // bytes of names
	maxName      = 1024
)

// Function is a function symbol.
type Function struct {
	Addr uint64 // in a relocatable file, the offset in the section
	Size uint64 // in bytes; 0 if unknown
	Name string // a part of one string that has all names of the table
}

// functionSize is the size of a Function without its name, in bytes.
const functionSize = 32

// Functions returns the functions in the symbol tables, in table order, and the memory that they take in
// bytes, at most 80 MiB. It skips a table with more than 2^19 symbols, 2^18 functions or 32 MiB of
// names.
func (f *File) Functions() (all []Function, size int) {
	// Linkers write at most one table of each kind.
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		for _, s := range f.Sections {
			if s.Type == kind {
				if functions, names, err := f.functions(s); err == nil {
					all, size = append(all, functions...), size+len(functions)*functionSize+names
				}
				break
			}
		}
	}
	return all, size
}

// functions returns the functions in a symbol table, and the size of their names in bytes.
func (f *File) functions(s elf.SectionHeader) (functions []Function, size int, err error) {
	entry := uint64(elf.Sym32Size)
	if f.wide {
		entry = elf.Sym64Size
	}
	if s.Entsize != entry || s.Size/entry > maxSymbols || int(s.Link) >= len(f.Sections) {
		return nil, 0, fmt.Errorf("%w: malformed or too large symbol table of %d bytes", ErrFormat, s.Size)
	}
	var offsets []uint32 // offsets of the functions' names in the string table
	for left := s.Size / entry; left > 0; {
		n := min(left, 1024)
		chunk := make([]byte, n*entry)
		if err := f.readAt(chunk, s.Offset+(s.Size/entry-left)*entry); err != nil {
			return nil, 0, err
		}
		for ; len(chunk) > 0; chunk = chunk[entry:] {
			sym := f.symbol(chunk)
			if elf.ST_TYPE(sym.Info) != elf.STT_FUNC || sym.Value == 0 && f.Type != elf.ET_REL || elf.SectionIndex(sym.Shndx) == elf.SHN_UNDEF {
				continue
			}
			if len(functions) == maxFunctions {
				return nil, 0, fmt.Errorf("%w: more than %d functions", ErrFormat, maxFunctions)
			}
			functions = append(functions, Function{Addr: sym.Value, Size: sym.Size})
			offsets = append(offsets, sym.Name)
		}
		left -= n
	}
	if len(functions) == 0 {
		return nil, 0, nil
	}
	names, err := f.names(f.Sections[s.Link])
	if err != nil {
		return nil, 0, err
	}
	for i, off := range offsets {
		if uint64(off) < uint64(len(names)) {
			name := names[off:min(len(names), int(off)+maxName)]
			functions[i].Name, _, _ = strings.Cut(name, "\x00")
		}
	}
	return functions, len(names), nil
}

// symbol decodes a symbol. It converts a 32-bit symbol to 64 bits.
func (f *File) symbol(b []byte) elf.Sym64 {
	if f.wide { // struct elf64_sym
		return elf.Sym64{
			Name: f.order.Uint32(b), Info: b[4], Shndx: f.order.Uint16(b[6:]), Value: f.order.Uint64(b[8:]), Size: f.order.Uint64(b[16:]),
		}
	}
	return elf.Sym64{ // struct elf32_sym
		Name: f.order.Uint32(b), Value: uint64(f.order.Uint32(b[4:])), Size: uint64(f.order.Uint32(b[8:])),
		Info: b[12], Shndx: f.order.Uint16(b[14:]),
	}
}

// names reads a string table.
func (f *File) names(s elf.SectionHeader) (string, error) {
	if s.Type != elf.SHT_STRTAB || s.Size > maxNames || s.Flags&elf.SHF_COMPRESSED != 0 || s.Offset > 1<<62 {
		return "", fmt.Errorf("%w: malformed or too large string table of %d bytes", ErrFormat, s.Size)
	}
	var names strings.Builder
	names.Grow(int(s.Size))
	if n, err := io.Copy(&names, io.NewSectionReader(f.r, int64(s.Offset), int64(s.Size))); uint64(n) < s.Size {
		return "", fmt.Errorf("%w: truncated: %w", ErrFormat, err)
	}
	return names.String(), nil
}
