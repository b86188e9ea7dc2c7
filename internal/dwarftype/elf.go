package dwarftype

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/rbtool/rbtool/internal/elffile"
)

// FromELF reads the DWARF of an ELF file whose sections are at most limit bytes each. Without DWARF, the error
// matches [fs.ErrNotExist].
func FromELF(e *elffile.File, limit uint64) (*Data, error) {
	s := Sections{}
	for _, part := range []struct {
		name     string
		required bool
	}{{"info", true}, {"abbrev", true}, {"str", false}, {"line_str", false}, {"str_offsets", false}, {"addr", false}, {"rnglists", false}, {"loclists", false}} {
		b, err := e.Content(".debug_"+part.name, limit)
		if err != nil && (part.required || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("read DWARF: %w", err)
		}
		if e.Type == elf.ET_REL {
			if err := relocate(e, part.name, b, limit); err != nil {
				return nil, fmt.Errorf("read DWARF: %w", err)
			}
		}
		s[part.name] = b
	}
	return New(s)
}

// widths are the sizes in bytes of what relocations of data change. The compilers of other machines, and of BPF, write
// the addend into the data instead.
var widths = map[elf.Machine]map[uint32]int{
	elf.EM_X86_64:  {uint32(elf.R_X86_64_32): 4, uint32(elf.R_X86_64_64): 8},
	elf.EM_AARCH64: {uint32(elf.R_AARCH64_ABS32): 4, uint32(elf.R_AARCH64_ABS64): 8},
}

// relocate writes the addends of the relocations of a section of a relocatable file into its content b. For references
// into other sections of DWARF they are the values, since the sections' own addresses are 0.
func relocate(e *elffile.File, name string, b []byte, limit uint64) error {
	const size = 24 // struct elf64_rela: r_offset, r_info, r_addend
	relocs, err := e.Content(".rela.debug_"+name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for ; err == nil && len(relocs) >= size; relocs = relocs[size:] {
		off, addend := binary.LittleEndian.Uint64(relocs), binary.LittleEndian.Uint64(relocs[16:])
		width := uint64(widths[e.Machine][binary.LittleEndian.Uint32(relocs[8:])])
		switch {
		case width == 0 || off > uint64(len(b)) || uint64(len(b))-off < width:
		case width == 4:
			binary.LittleEndian.PutUint32(b[off:], uint32(addend))
		default:
			binary.LittleEndian.PutUint64(b[off:], addend)
		}
	}
	return err
}
