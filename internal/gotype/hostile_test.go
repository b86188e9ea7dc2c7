package gotype

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Addresses in an image: of sections, and of descriptors and names in the section of types.
const (
	tableAddr = 0x1000
	moduleAt  = 0x2000
	typesAddr = 0x4000

	atNumber = typesAddr + 0x40  // uint32
	atByte   = typesAddr + 0x80  // int8
	atArray  = typesAddr + 0xc0  // [4]int8
	atStruct = typesAddr + 0x120 // main.event
	atFields = typesAddr + 0x180 // Pid uint32; Comm [4]int8
	atNames  = typesAddr + 0x1c0
	typesEnd = typesAddr + 0x200
)

// put writes a word at an address of the section of types.
func put(types []byte, addr, value uint64) {
	binary.LittleEndian.PutUint64(types[addr-typesAddr:], value)
}

// descriptor writes the head of a descriptor.
func descriptor(types []byte, addr, size uint64, align, kind, flags byte) {
	put(types, addr, size)
	b := types[addr-typesAddr:]
	b[20], b[21], b[22], b[23] = flags, align, align, kind
	binary.LittleEndian.PutUint32(b[40:], atNames-typesAddr)
}

// image returns a small executable of Go with the struct main.event{Pid uint32; Comm [4]int8}, changed by damage.
func image(damage func(types []byte)) []byte {
	types := make([]byte, typesEnd-typesAddr)
	descriptor(types, atNumber, 4, 4, 10, flagNamed)
	descriptor(types, atByte, 1, 1, kindInt8, flagNamed)
	descriptor(types, atArray, 4, 1, kindArray, 0)
	put(types, atArray+48, atByte)
	put(types, atArray+64, 4)
	descriptor(types, atStruct, 8, 4, kindStruct, flagNamed|flagExtraStar)
	put(types, atStruct+56, atFields)
	put(types, atStruct+64, 2)
	put(types, atStruct+72, 2)
	copy(types[atNames-typesAddr:], "\x01\x0b*main.event\x01\x03Pid\x01\x04Comm")
	for i, field := range [][3]uint64{{atNames + 13, atNumber, 0}, {atNames + 18, atArray, 4}} {
		for j, value := range field {
			put(types, atFields+uint64(i*fieldSize+j*wordSize), value)
		}
	}
	if damage != nil {
		damage(types)
	}
	module := make([]byte, (typesWord+2)*wordSize)
	binary.LittleEndian.PutUint64(module, tableAddr)
	binary.LittleEndian.PutUint64(module[typesWord*wordSize:], typesAddr)
	return link(module, types)
}

// link returns an ELF file with the sections that an executable of Go has.
func link(module, types []byte) []byte {
	names := "\x00.gopclntab\x00.go.module\x00.rodata\x00.shstrtab\x00"
	var file, table bytes.Buffer
	file.Write(make([]byte, binary.Size(elf.Header64{})))
	put := func(name uint32, typ elf.SectionType, addr uint64, content []byte) {
		// A write to a buffer does not fail.
		_ = binary.Write(&table, binary.LittleEndian, elf.Section64{
			Name: name, Type: uint32(typ), Flags: uint64(elf.SHF_ALLOC), Addr: addr, Off: uint64(file.Len()), Size: uint64(len(content)),
		})
		file.Write(content)
	}
	put(0, elf.SHT_NULL, 0, nil)
	put(1, elf.SHT_PROGBITS, tableAddr, make([]byte, 8))
	put(12, elf.SHT_PROGBITS, moduleAt, module)
	put(23, elf.SHT_PROGBITS, typesAddr, types)
	put(31, elf.SHT_STRTAB, 0, []byte(names))
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Shoff: uint64(file.Len()), Shnum: 5, Shstrndx: 4}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	file.Write(table.Bytes())
	b := file.Bytes()
	_, _ = binary.Encode(b, binary.LittleEndian, h)
	return b
}

func open(t testing.TB, file []byte) *elffile.File {
	t.Helper()
	e, err := elffile.New(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What is not as Go writes it is not taken for a struct.
func TestDamagedDescriptors(t *testing.T) {
	at := func(addr uint64, b ...byte) func(types []byte) {
		return func(types []byte) { copy(types[addr-typesAddr:], b) }
	}
	words := func(pairs ...uint64) func(types []byte) {
		return func(types []byte) {
			for i := 0; i < len(pairs); i += 2 {
				put(types, pairs[i], pairs[i+1])
			}
		}
	}
	for _, tt := range []struct {
		rule   string
		damage func(types []byte)
	}{
		{"pointers in it", words(atStruct+8, 8)},
		{"the size is not that of the fields", words(atStruct, 12)},
		{"a huge size", words(atStruct, 1<<63)},
		{"an alignment that is none", at(atStruct+21, 3, 3)},
		{"an alignment that is not that of the fields", at(atStruct+21, 8, 8)},
		{"another alignment as a field", at(atStruct+22, 1)},
		{"more fields than their array has", words(atStruct+64, 3)},
		{"no fields", words(atStruct+64, 0, atStruct+72, 0)},
		{"very many fields", words(atStruct+64, 1<<61, atStruct+72, 1<<61)},
		{"fields outside", words(atStruct+56, typesEnd-8)},
		{"fields nowhere", words(atStruct+56, 1<<63)},
		{"a field elsewhere", words(atFields+fieldSize+16, 3)},
		{"offsets as Go 1.18 writes them", words(atFields+fieldSize+16, 8)},
		{"fields in each other", words(atFields+fieldSize+16, 0)},
		{"a field without a type", words(atFields+8, 0)},
		{"a type outside", words(atFields+8, typesEnd)},
		{"a type at the end of all addresses", words(atFields+8, 1<<64-8)},
		{"the struct itself as a field", words(atFields+8, atStruct)},
		{"a field without a name", words(atFields, 0)},
		{"a name outside", words(atFields, typesEnd-1)},
		{"a name that is no identifier", at(atNames+15, '-')},
		{"a name with unknown flags", at(atNames+13, 0x11)},
		{"an exported name that is not", at(atNames+13, 0)},
		{"a name longer than the section", at(atNames+14, 0x7f)},
		{"a very long name", at(atNames+14, 0xff, 0x7f)},
		{"a number of another size", words(atNumber, 8)},
		{"a kind that is no number", at(atNumber+23, 21)},
		{"a kind that does not exist", at(atNumber+23, 0xff)},
		{"an array that is too long", words(atArray+64, 5)},
		{"an array whose length overflows", words(atArray+64, 1<<62+4)},
		{"an array of itself", words(atArray+48, atArray, atArray+64, 1)},
		{"the struct has no name", at(atStruct+20, 0)},
		{"the name has no star", at(atStruct+20, flagNamed)},
		{"the name has no package", at(atNames+7, '_')},
		{"the name is not at the base", at(atStruct+40, 1)},
		{"the name is outside", at(atStruct+40, 0xff, 0xff, 0xff, 0xff)},
	} {
		d, err := FromELF(t.Context(), open(t, image(tt.damage)), 1<<20)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, %v", tt.rule, d, err)
		}
	}
}

// The undamaged image has the struct, whatever is behind it, and wherever in its pages.
func TestTheImage(t *testing.T) {
	file := image(nil)
	d, err := FromELF(t.Context(), open(t, file), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	found := d.Structs(8)
	if len(found) != 1 || found[0].TypeName() != "main.event" || layout(found[0]) != "8: Pid 0 uint32, Comm 4 [4]char" {
		t.Errorf("%v", found)
	}
	for rule, limit := range map[string]uint64{"a section beyond the limit": 0x1ff, "no section": 0} {
		if _, err := FromELF(t.Context(), open(t, file), limit); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", rule, err)
		}
	}
	for n := range len(file) {
		e, err := elffile.New(bytes.NewReader(file[:n]))
		if err != nil {
			continue
		}
		if d, err := FromELF(t.Context(), e, 1<<20); err == nil {
			t.Errorf("truncated at %d: %v", n, d.Names())
		}
	}
}

func FuzzFromELF(f *testing.F) {
	f.Add(image(nil))
	f.Add(image(func(types []byte) { put(types, atFields+8, atStruct) }))
	f.Fuzz(func(t *testing.T, file []byte) {
		got := testenv.Allocated(func() {
			e, err := elffile.New(bytes.NewReader(file))
			if err != nil {
				return
			}
			d, err := FromELF(t.Context(), e, 64<<20)
			if err != nil {
				return
			}
			for _, name := range d.Names() {
				for _, found := range d.Named(name) {
					size, err := btf.Sizeof(found)
					if err != nil || size != int(found.(*btf.Struct).Size) {
						t.Errorf("%s: %d bytes, %v", name, size, err)
					}
				}
			}
			if _, err := d.Spec(); err != nil {
				t.Error(err)
			}
		})
		if most := uint64(32<<20 + 64*len(file)); got > most {
			t.Errorf("%d bytes allocated, want at most %d", got, most)
		}
	})
}
