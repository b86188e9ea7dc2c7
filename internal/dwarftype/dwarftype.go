// Package dwarftype converts the types that DWARF describes to BTF types, which have the same kinds. BTF of a
// program lacks the types that are used only within functions; DWARF has them, and says which local variable
// has which type.
//
//	d, err := dwarftype.New(sections)
//	t, ok := d.Local("handle_exec", "e") // struct event, if e is one or points to one
//
// DWARF is not trusted: work and memory are bounded, and types that refer to themselves are refused.
package dwarftype

import (
	"debug/dwarf"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/sametype"
)

// Bounds of DWARF, in units of which each entry and each of its attributes is one.
const (
	maxIndex   = 1 << 23 // of all entries that New reads
	maxConvert = 1 << 18 // of the entries that a Data reads later
	maxDepth   = 256     // of entries in each other
	maxNested  = 64      // of types in each other
	maxName    = 512     // bytes
	maxSized   = 256     // structs of one size
)

// ErrFormat is the error for DWARF that is malformed, unusually large, or has a type that BTF cannot describe.
var ErrFormat = fmt.Errorf("%w: malformed or unusually large DWARF", fs.ErrInvalid)

// Data has the types and variables of DWARF. Any number of goroutines can use it at once.
type Data struct {
	mu     sync.Mutex
	dwarf  *dwarf.Data
	types  map[string][]dwarf.Offset     // complete types, by name
	names  []string                      // their names, in order of appearance
	locals map[string][]local            // variables and parameters, by their function's name
	funcs  []string                      // functions with code
	sized  []sized                       // complete structs
	alias  map[dwarf.Offset]dwarf.Offset // typedefs, by the type that they name
	known  map[dwarf.Offset]btf.Type
	left   int // of maxConvert
}

// sized is a struct.
type sized struct {
	name string // "" if it has none, or only that of a typedef
	size int64
	at   dwarf.Offset
}

// local is a variable of a function.
type local struct {
	name   string
	typ    dwarf.Offset
	origin dwarf.Offset // the entry that has name and type, if the variable is of an inlined call
}

// Sections are the sections of DWARF by name, without the prefix ".debug_": abbrev, info, str, line_str,
// str_offsets, addr, rnglists and loclists. All but abbrev and info may be missing.
type Sections map[string][]byte

// New reads which types and variables the sections describe. It keeps the sections. For malformed sections the
// error matches [ErrFormat].
func New(s Sections) (_ *Data, err error) {
	defer guard(&err)
	if err := checkAbbrev(s["abbrev"]); err != nil {
		return nil, err
	}
	parsed, err := dwarf.New(s["abbrev"], nil, nil, s["info"], nil, nil, nil, s["str"])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	for _, name := range []string{"line_str", "str_offsets", "addr", "rnglists", "loclists"} {
		if err := parsed.AddSection(".debug_"+name, s[name]); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
	}
	d := &Data{
		dwarf: parsed, left: maxConvert,
		alias: map[dwarf.Offset]dwarf.Offset{}, types: map[string][]dwarf.Offset{}, locals: map[string][]local{}, known: map[dwarf.Offset]btf.Type{},
	}
	return d, d.index()
}

// guard turns a panic of debug/dwarf on malformed input into an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrFormat, r)
	}
}

// addType notes a type that has a name and is complete.
func (d *Data) addType(e *dwarf.Entry) {
	switch e.Tag {
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagEnumerationType, dwarf.TagTypedef:
	default:
		return
	}
	name := nameIn(e)
	if incomplete, _ := e.Val(dwarf.AttrDeclaration).(bool); incomplete {
		return
	}
	size, ok := e.Val(dwarf.AttrByteSize).(int64)
	if ok && (e.Tag == dwarf.TagStructType || e.Tag == dwarf.TagClassType) {
		d.sized = append(d.sized, sized{name, size, e.Offset})
	}
	if name == "" {
		return
	}
	if of, ok := e.Val(dwarf.AttrType).(dwarf.Offset); ok && e.Tag == dwarf.TagTypedef {
		d.alias[of] = e.Offset
	}
	if _, ok := d.types[name]; !ok {
		d.names = append(d.names, name)
	}
	d.types[name] = append(d.types[name], e.Offset)
}

// nameIn returns the name in an entry, or "" if it has none or an unusually long one.
func nameIn(e *dwarf.Entry) string {
	name, _ := e.Val(dwarf.AttrName).(string)
	if len(name) > maxName {
		return ""
	}
	return name
}

// nameOf returns the name of an entry or of the entry that it stands for.
func (d *Data) nameOf(e *dwarf.Entry) string {
	for range maxNested {
		if name := nameIn(e); name != "" {
			return name
		}
		origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if origin, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				return ""
			}
		}
		var err error
		if e, err = d.entry(origin); err != nil {
			return ""
		}
	}
	return ""
}

// entry reads the entry at an offset.
func (d *Data) entry(at dwarf.Offset) (*dwarf.Entry, error) {
	r := d.dwarf.Reader()
	r.Seek(at)
	return d.next(r)
}

// next reads the next entry of r.
func (d *Data) next(r *dwarf.Reader) (*dwarf.Entry, error) {
	e, err := r.Next()
	if err == nil && e == nil {
		err = errors.New("no entry")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if d.left -= 1 + len(e.Field); d.left < 0 {
		return nil, fmt.Errorf("%w: types of too many entries", ErrFormat)
	}
	return e, nil
}

// Names returns the names of the complete types: structs, unions, enums and typedefs.
func (d *Data) Names() []string { return d.names }

// Qualified returns the names of types that end with a dot and name: a type of Go has the name of its package
// before its own.
func (d *Data) Qualified(name string) (names []string) {
	for _, n := range d.names {
		if strings.HasSuffix(n, "."+name) {
			names = append(names, n)
		}
	}
	return names
}

// Named returns the types called name, without those that cannot be converted. Units of compilation that
// share a header each have its types: of equal types it returns the first.
func (d *Data) Named(name string) (types []btf.Type) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.types[name] {
		if t, err := d.convertAt(at); err == nil {
			types = addDistinct(types, t)
		}
	}
	return types
}

// Spec returns BTF with the types that have one of the names, or with all complete types and the names of all
// functions if there are no names. It leaves out types that cannot be converted, and, of very many types, those
// after the first.
func (d *Data) Spec(names ...string) (*btf.Spec, error) {
	var types []btf.Type
	if names == nil {
		names = d.names
		unknown := &btf.FuncProto{Return: (*btf.Void)(nil)}
		for _, name := range d.funcs {
			types = append(types, &btf.Func{Name: name, Type: unknown, Linkage: btf.GlobalFunc})
		}
	}
	for _, name := range names {
		types = append(types, d.Named(name)...)
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		return nil, fmt.Errorf("make BTF of DWARF: %w", err)
	}
	return b.Spec()
}

// Structs returns the structs of a size in bytes, without those that cannot be converted. A struct without a name is
// that of its typedef. Of equal types it returns the first.
func (d *Data) Structs(size int64) (types []btf.Type) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sized {
		if s.size != size {
			continue
		}
		at, named := d.alias[s.at]
		if s.name != "" {
			at, named = s.at, true
		}
		if !named {
			continue
		}
		if t, err := d.convertAt(at); err == nil && len(types) < maxSized {
			types = addDistinct(types, t)
		}
	}
	return types
}

// Local returns the type of a variable or parameter of a function, inlined calls included. If the type is a
// pointer, it returns the type of what it points to. It returns false if there is no such variable, or if
// there are several with different types.
func (d *Data) Local(function, variable string) (btf.Type, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var types []btf.Type
	for _, v := range d.locals[function] {
		if v.origin != 0 {
			e, err := d.entry(v.origin)
			if err != nil {
				return nil, false
			}
			v.name = nameIn(e)
			v.typ, _ = e.Val(dwarf.AttrType).(dwarf.Offset)
		}
		if v.name != variable || v.typ == 0 {
			continue
		}
		t, err := d.pointee(v.typ)
		if err != nil {
			return nil, false
		}
		types = addDistinct(types, t)
	}
	if len(types) != 1 {
		return nil, false
	}
	return types[0], true
}

// addDistinct adds t to types, unless they have an equal type.
func addDistinct(types []btf.Type, t btf.Type) []btf.Type {
	for _, other := range types {
		if sametype.Same(other, t) {
			return types
		}
	}
	return append(types, t)
}

// checkAbbrev refuses abbreviations with unusually many attributes, each of which takes memory for each entry
// that it abbreviates, although it can take no byte of the entry.
func checkAbbrev(b []byte) error {
	const maxAttrs, implicitConst = 64, 0x21 // DW_FORM_implicit_const, with the value in LEB128
	next := func() (n uint64, ok bool) {
		n, size := uleb(b)
		b = b[size:]
		return n, size > 0
	}
	for len(b) > 0 {
		code, ok := next()
		if !ok {
			return fmt.Errorf("%w: abbreviations", ErrFormat)
		}
		if code == 0 {
			continue // the end of a table
		}
		if _, ok = next(); !ok || len(b) == 0 {
			return fmt.Errorf("%w: abbreviations", ErrFormat)
		}
		b = b[1:] // whether it has children
		for attrs := 0; ; attrs++ {
			attr, ok := next()
			form, okForm := next()
			if form == implicitConst {
				_, okForm = next()
			}
			if !ok || !okForm || attrs > maxAttrs {
				return fmt.Errorf("%w: abbreviations", ErrFormat)
			}
			if attr == 0 && form == 0 {
				break
			}
		}
	}
	return nil
}
