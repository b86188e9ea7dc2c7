package objects

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/dwarftype"
	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/rawbtf"
)

// Limits of an object's BTF, in bytes, and of its functions and maps that are known.
const (
	maxObjectBTF = 8 << 20
	maxNamed     = 4096
)

// Object is a BPF object in a file. It may be used concurrently if the reader of the file may.
type Object struct {
	// File names the file, for people.
	File string
	// Offset is where in the file the object starts, in bytes.
	Offset int64
	// Programs are the names of the object's functions, of which programs are the kernel's.
	Programs []string

	maps    []string // names of the maps
	strings func() map[string]bool
	elf     *elffile.File
	spec    func() (*btf.Spec, error)
	defs    func() []MapDef
	dbg     func() (*dwarftype.Data, error)
}

// open reads the names in the object from off to end in r. It returns nil if it is malformed.
func open(r io.ReaderAt, off, end int64, name string) *Object {
	e, err := elffile.New(io.NewSectionReader(r, off, end-off))
	if err != nil {
		return nil
	}
	o := &Object{File: name, Offset: off, elf: e}
	o.spec = sync.OnceValues(func() (*btf.Spec, error) {
		raw, err := e.Content(".BTF", maxObjectBTF)
		if err != nil {
			return nil, err
		}
		return rawbtf.Parse(raw)
	})
	o.defs = sync.OnceValue(o.readMaps)
	o.strings = sync.OnceValue(o.readStrings)
	o.dbg = sync.OnceValues(func() (*dwarftype.Data, error) { return dwarftype.FromELF(e, maxObject) })
	if raw, err := e.Content(".BTF", maxObjectBTF); err == nil {
		if outline, err := rawbtf.Read(raw); err == nil {
			o.Programs, o.maps = outline.Named()
			return o
		}
	}
	functions, _ := e.Functions()
	for _, f := range functions[:min(len(functions), maxNamed)] {
		o.Programs = append(o.Programs, strings.Clone(f.Name))
	}
	return o
}

// load is [open] for an object that keeps a copy of its bytes and not r.
func load(r io.ReaderAt, off, end int64, name string) *Object {
	b := make([]byte, end-off)
	if n, _ := r.ReadAt(b, off); n < len(b) {
		return nil
	}
	o := open(bytes.NewReader(b), 0, end-off, name)
	if o != nil {
		o.Offset = off
	}
	return o
}

// String returns the name of the file, and where in it the object is.
func (o *Object) String() string {
	if o.Offset == 0 {
		return o.File
	}
	return fmt.Sprintf("%s at offset %#x", o.File, o.Offset)
}

// Spec returns the object's BTF. It parses it at the first call. Without BTF, the error matches
// [fs.ErrNotExist].
func (o *Object) Spec() (*btf.Spec, error) {
	spec, err := o.spec()
	if err != nil {
		return nil, fmt.Errorf("read BTF of %s: %w", o, err)
	}
	return spec, nil
}

// DWARF returns the object's DWARF. It parses it at the first call. Without DWARF, the error matches
// [fs.ErrNotExist].
func (o *Object) DWARF() (*dwarftype.Data, error) {
	d, err := o.dbg()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	return d, nil
}

// Local returns the type of a local variable or parameter of a function, or of what it points to, from the
// object's DWARF. BTF does not have it.
func (o *Object) Local(function, variable string) (btf.Type, bool) {
	d, err := o.DWARF()
	if err != nil {
		return nil, false
	}
	return d.Local(function, variable)
}
