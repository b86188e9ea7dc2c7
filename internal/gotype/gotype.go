// Package gotype reads the type descriptors of an executable in Go (internal/abi/type.go), and returns its structs of numbers as BTF
// types. Stripped executables keep the descriptors, since the runtime and package reflect use them. A struct that the program
// allocates or stores in an interface, as for encoding/binary, has one. A struct to which it only casts a pointer can have none.
//
//	d, err := gotype.FromELF(ctx, e, 64<<20)
//	types := d.Structs(40) // the structs of 40 bytes
//
// Descriptors have the same layout from Go 1.19 to 1.27, on amd64 and arm64. No version is asked for: a struct is left out if its
// fields do not lie where Go places them, and all are if one has no valid name. Relocations are not read. Position-independent
// executables need none as Go's linker and GNU ld write them: the addresses stand in the sections, too.
//
// The executable is not trusted: work and memory are bounded.
package gotype

import (
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/sametype"
)

// Data has the structs of an executable. Any number of goroutines can use it at once.
type Data struct {
	structs []*btf.Struct
}

// errNone is the error for an executable without type descriptors.
var errNone = fmt.Errorf("type descriptors of Go: %w", fs.ErrNotExist)

// FromELF reads the structs of an executable whose section of type descriptors has at most limit bytes. Without such a section, or
// if its descriptors have another layout, the error matches [fs.ErrNotExist]. It ends with an error when ctx does.
func FromELF(ctx context.Context, e *elffile.File, limit uint64) (*Data, error) {
	if e.Machine != elf.EM_X86_64 && e.Machine != elf.EM_AARCH64 {
		return nil, errNone
	}
	bases, err := typesOf(ctx, e)
	if err != nil {
		return nil, err
	}
	for _, base := range bases {
		s, ok := sectionAt(e, base, limit)
		if !ok {
			continue
		}
		r := reader{view: newView(ctx, e, s), base: base, known: map[uint64]*known{}, left: maxFields}
		structs := r.structs()
		if r.err != nil {
			return nil, r.err
		}
		if !r.misnamed && len(structs) > 0 {
			return &Data{structs}, nil
		}
	}
	return nil, errNone
}

// sectionAt returns the section of data that is at an address, if it is not larger than limit.
func sectionAt(e *elffile.File, addr, limit uint64) (elf.SectionHeader, bool) {
	i := slices.IndexFunc(e.Sections, func(s elf.SectionHeader) bool {
		return s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_ALLOC != 0 && s.Flags&elf.SHF_EXECINSTR == 0 &&
			addr >= s.Addr && addr-s.Addr < s.Size && s.Size <= limit && s.Addr <= 1<<62
	})
	if i < 0 || addr%wordSize != 0 {
		return elf.SectionHeader{}, false
	}
	return e.Sections[i], true
}

// Names returns the names of the structs, each once. They start with the name of a package and a dot.
func (d *Data) Names() (names []string) {
	for _, s := range d.structs {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Qualified returns the names of structs that end with a dot and name.
func (d *Data) Qualified(name string) (names []string) {
	return slices.DeleteFunc(d.Names(), func(n string) bool { return !strings.HasSuffix(n, "."+name) })
}

// Named returns the structs called name. Of equal ones it returns the first.
func (d *Data) Named(name string) []btf.Type {
	return d.distinct(func(s *btf.Struct) bool { return s.Name == name })
}

// maxSized bounds the structs of one size.
const maxSized = 256

// Structs returns the structs of a size in bytes. Of equal ones it returns the first.
func (d *Data) Structs(size int64) []btf.Type {
	return d.distinct(func(s *btf.Struct) bool { return int64(s.Size) == size })
}

// distinct returns the structs for which is reports true, without repetitions.
func (d *Data) distinct(is func(s *btf.Struct) bool) (types []btf.Type) {
	for _, s := range d.structs {
		if is(s) && len(types) < maxSized && !slices.ContainsFunc(types, func(t btf.Type) bool { return sametype.Same(t, s) }) {
			types = append(types, s)
		}
	}
	return types
}

// Spec returns BTF with the structs that have one of the names, or with all if there are no names.
func (d *Data) Spec(names ...string) (*btf.Spec, error) {
	var types []btf.Type
	for _, s := range d.structs {
		if names == nil || slices.Contains(names, s.Name) {
			types = append(types, s)
		}
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		return nil, fmt.Errorf("make BTF of types of Go: %w", err)
	}
	return b.Spec()
}
