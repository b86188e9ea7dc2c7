package loader

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/syscall"
)

// clang puts C variables with address_space(1) into the section .addr_space.1. The section does not become
// a map: its variables live in the arena. cilium/ebpf v0.22 refuses objects with this section.
// LoadCollectionSpec therefore renames it to a name of the same length that cilium/ebpf accepts as a data
// section. NewCollection then copies the contents into the arena and makes the instructions refer to the
// copy, as libbpf does (src/libbpf.c, init_arena_map_data).
const (
	elfGlobalsSection = ".addr_space.1"
	globalsSection    = ".data.arena.1"
)

// maxObject is the maximum size of an object file, in bytes.
const maxObject = 64 << 20

// LoadCollectionSpec parses an object file as [ebpf.LoadCollectionSpec] does, and also accepts variables
// in the arena (__arena in bpf/headers/arena.h). It reads regular files of at most 64 MiB; the error
// matches [os.ErrInvalid] for other files. Load the result with [NewCollection].
func LoadCollectionSpec(path string) (*ebpf.CollectionSpec, error) {
	file, err := elffile.ReadFile(path, maxObject)
	if err != nil {
		return nil, fmt.Errorf("load object: %w", err)
	}
	spec, err := LoadCollectionSpecFromReader(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("load object %s: %w", path, err)
	}
	return spec, nil
}

// LoadCollectionSpecFromReader is [LoadCollectionSpec] for an object read from r, without a limit of its
// size. It does not keep r.
func LoadCollectionSpecFromReader(r io.ReaderAt) (*ebpf.CollectionSpec, error) {
	object, err := io.ReadAll(io.NewSectionReader(r, 0, 1<<62))
	if err != nil {
		return nil, err
	}
	if err := renameGlobals(object); err != nil {
		return nil, err
	}
	return ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
}

// renameGlobals renames the section elfGlobalsSection, in place, in the object's string tables and BTF.
func renameGlobals(object []byte) error {
	file, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return err
	}
	defer file.Close()
	if file.Section(elfGlobalsSection) == nil {
		return nil
	}
	if file.Section(globalsSection) != nil {
		return fmt.Errorf("object has both sections %s and %s: %w", globalsSection, elfGlobalsSection, ebpf.ErrNotSupported)
	}
	for _, s := range file.Sections {
		if s.Type != elf.SHT_STRTAB && s.Name != ".BTF" {
			continue
		}
		if s.Offset > uint64(len(object)) || s.Size > uint64(len(object))-s.Offset {
			return fmt.Errorf("section %s reaches beyond the end of the file", s.Name)
		}
		part := object[s.Offset : s.Offset+s.Size]
		old, now := []byte("\x00"+elfGlobalsSection+"\x00"), []byte("\x00"+globalsSection+"\x00")
		for {
			i := bytes.Index(part, old)
			if i < 0 {
				break
			}
			copy(part[i:], now)
		}
	}
	return nil
}

// takeGlobals removes the section of the arena's variables from the spec and copies its contents into the
// arena. It returns the map and offset that instructions refer to instead of the section. Each load of a
// collection creates new variables.
func (c *Collection) takeGlobals(spec *ebpf.CollectionSpec) (syscall.MapRef, error) {
	section := spec.Maps[globalsSection]
	if section == nil {
		return syscall.MapRef{}, nil
	}
	ref, err := c.placeGlobals(spec, section)
	if err != nil {
		return ref, fmt.Errorf("create variables in the arena: %w", err)
	}
	delete(spec.Maps, globalsSection)
	return ref, nil
}

func (c *Collection) placeGlobals(spec *ebpf.CollectionSpec, section *ebpf.MapSpec) (none syscall.MapRef, _ error) {
	if len(c.Arenas) != 1 {
		return none, fmt.Errorf("the collection has %d arenas, not one", len(c.Arenas))
	}
	var a *arena.Arena
	for _, a = range c.Arenas {
	}
	m := arenamem.Of(a)
	data, err := initialValues(spec, section)
	if err != nil {
		return none, err
	}
	off, err := m.Reserve(uint64(len(data)))
	if err != nil {
		return none, err
	}
	if err := m.Present(off, uint64(len(data))); err != nil {
		return none, err
	}
	base := arena.Ptr[byte](m.Base + off)
	at, err := a.Bytes(base, uint64(len(data)))
	if err != nil {
		return none, err
	}
	if err := a.Guard(func() error { copy(at, data); return nil }); err != nil {
		return none, err
	}
	for name, v := range spec.Variables {
		if v.SectionName == globalsSection {
			c.Globals[name] = base + arena.Ptr[byte](v.Offset)
			delete(spec.Variables, name)
		}
	}
	return syscall.MapRef{Map: m.Map, Offset: uint32(off)}, nil
}

// initialValues returns the contents of a section, with the values that the spec's variables have now, as
// cilium/ebpf does (MapSpec.updateDataSection).
func initialValues(spec *ebpf.CollectionSpec, section *ebpf.MapSpec) ([]byte, error) {
	if len(section.Contents) != 1 {
		return nil, fmt.Errorf("section %s has no contents", section.Name)
	}
	data, ok := section.Contents[0].Value.([]byte)
	if !ok {
		return nil, fmt.Errorf("section %s has contents of type %T, not []byte", section.Name, section.Contents[0].Value)
	}
	data = slices.Clone(data)
	for name, v := range spec.Variables {
		if spec.Maps[v.SectionName] != section {
			continue
		}
		if uint64(len(data)) < uint64(v.Offset)+uint64(len(v.Value)) {
			return nil, fmt.Errorf("variable %s is outside section %s", name, v.SectionName)
		}
		copy(data[v.Offset:], v.Value)
	}
	return data, nil
}
