package dwarftype

import (
	"debug/dwarf"
	"fmt"
	"math"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// DW_ATE_*: how the bits of a base type are read (DWARF 5, 7.8).
const (
	encBoolean  = 0x02
	encFloat    = 0x04
	encSigned   = 0x05
	encSignedCh = 0x06
)

// converter converts one type and the types in it.
type converter struct {
	*Data
	depth int
}

// convertAt converts the type at an offset. [Data.mu] is held.
func (d *Data) convertAt(at dwarf.Offset) (t btf.Type, err error) {
	defer guard(&err)
	return converter{d, 0}.at(at)
}

// pointee converts the type at an offset. If it is a pointer, it converts the type of what it points to.
func (d *Data) pointee(at dwarf.Offset) (t btf.Type, err error) {
	defer guard(&err)
	for range maxNested {
		e, err := d.entry(at)
		if err != nil {
			return nil, err
		}
		inner, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		switch e.Tag {
		case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType:
		case dwarf.TagPointerType:
			if !ok {
				return (*btf.Void)(nil), nil
			}
			return d.convertAt(inner)
		default:
			return d.convertAt(at)
		}
		if !ok {
			return (*btf.Void)(nil), nil
		}
		at = inner
	}
	return nil, fmt.Errorf("%w: types nested too deeply or recursive", ErrFormat)
}

// at converts the type at an offset.
func (c converter) at(at dwarf.Offset) (btf.Type, error) {
	if t, ok := c.known[at]; ok {
		if t == nil {
			return nil, fmt.Errorf("%w: a type contains itself", ErrFormat)
		}
		return t, nil
	}
	if c.depth++; c.depth > maxNested {
		return nil, fmt.Errorf("%w: types nested too deeply", ErrFormat)
	}
	r := c.dwarf.Reader()
	r.Seek(at)
	e, err := c.next(r)
	if err != nil {
		return nil, err
	}
	c.known[at] = nil // while it is converted
	t, err := c.convert(r, e)
	if err != nil {
		delete(c.known, at)
		return nil, err
	}
	c.known[at] = t
	return t, nil
}

// of converts the type that an entry refers to. Without one it is void.
func (c converter) of(e *dwarf.Entry) (btf.Type, error) {
	switch v := e.Val(dwarf.AttrType).(type) {
	case dwarf.Offset:
		return c.at(v)
	case nil:
		return (*btf.Void)(nil), nil
	default:
		return nil, fmt.Errorf("%w: a type outside the unit", ErrFormat)
	}
}

// convert converts the type that e describes. r stands behind e.
func (c converter) convert(r *dwarf.Reader, e *dwarf.Entry) (btf.Type, error) {
	name := nameIn(e)
	switch e.Tag {
	case dwarf.TagBaseType:
		return baseType(e, name)
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType, dwarf.TagPtrToMemberType:
		return &btf.Pointer{Target: c.named(e)}, nil
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
		return c.composite(r, e, name)
	case dwarf.TagEnumerationType:
		return c.enum(r, e, name)
	case dwarf.TagArrayType:
		return c.array(r, e)
	}
	inner, err := c.of(e)
	if err != nil {
		return nil, err
	}
	switch e.Tag {
	case dwarf.TagTypedef, dwarf.TagTemplateAlias:
		return &btf.Typedef{Name: name, Type: inner}, nil
	case dwarf.TagConstType:
		return &btf.Const{Type: inner}, nil
	case dwarf.TagVolatileType:
		return &btf.Volatile{Type: inner}, nil
	case dwarf.TagRestrictType:
		return &btf.Restrict{Type: inner}, nil
	case dwarf.TagAtomicType, dwarf.TagSubrangeType:
		return inner, nil
	}
	return nil, fmt.Errorf("%w: BTF has no type for %v", ErrFormat, e.Tag)
}

// named returns what a pointer points to, as far as its name tells: a forward declaration or void. So types
// that point to each other are no cycles.
func (c converter) named(e *dwarf.Entry) btf.Type {
	void := (*btf.Void)(nil)
	at, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if !ok {
		return void
	}
	target, err := c.entry(at)
	if err != nil || nameIn(target) == "" {
		return void
	}
	switch target.Tag {
	case dwarf.TagStructType, dwarf.TagClassType:
		return &btf.Fwd{Name: nameIn(target), Kind: btf.FwdStruct}
	case dwarf.TagUnionType:
		return &btf.Fwd{Name: nameIn(target), Kind: btf.FwdUnion}
	}
	return void
}

// sizeIn returns the size of a type in bytes, which an entry states.
func sizeIn(e *dwarf.Entry) (uint32, error) {
	size, ok := e.Val(dwarf.AttrByteSize).(int64)
	if !ok || size < 0 || size > math.MaxInt32 {
		return 0, fmt.Errorf("%w: a %v without a size", ErrFormat, e.Tag)
	}
	return uint32(size), nil
}

// baseType converts an integer or a float.
func baseType(e *dwarf.Entry, name string) (btf.Type, error) {
	size, err := sizeIn(e)
	if err != nil || size > 16 {
		return nil, fmt.Errorf("%w: base type %s of %d bytes", ErrFormat, strconv.Quote(name), size)
	}
	t := &btf.Int{Name: name, Size: size}
	switch encoding, _ := e.Val(dwarf.AttrEncoding).(int64); encoding {
	case encFloat:
		return &btf.Float{Name: name, Size: size}, nil
	case encBoolean:
		t.Encoding = btf.Bool
	case encSigned, encSignedCh:
		t.Encoding = btf.Signed
	}
	return t, nil
}

// enum converts an enumeration.
func (c converter) enum(r *dwarf.Reader, e *dwarf.Entry, name string) (btf.Type, error) {
	size, err := sizeIn(e)
	if err != nil {
		return nil, err
	}
	t := &btf.Enum{Name: name, Size: size}
	err = c.children(r, e, func(child *dwarf.Entry) error {
		if child.Tag == dwarf.TagEnumerator {
			value, _ := child.Val(dwarf.AttrConstValue).(int64)
			t.Signed = t.Signed || value < 0
			t.Values = append(t.Values, btf.EnumValue{Name: nameIn(child), Value: uint64(value)})
		}
		return nil
	})
	return t, err
}

// array converts an array. Each of its dimensions is a child.
func (c converter) array(r *dwarf.Reader, e *dwarf.Entry) (btf.Type, error) {
	t, err := c.of(e)
	if err != nil {
		return nil, err
	}
	if i, ok := t.(*btf.Int); ok && i.Name == "int8" { // of Go: bpf2go writes char so
		t = &btf.Int{Name: "char", Size: i.Size, Encoding: i.Encoding}
	}
	var lengths []uint32
	err = c.children(r, e, func(child *dwarf.Entry) error {
		if child.Tag != dwarf.TagSubrangeType {
			return nil
		}
		length, counted := child.Val(dwarf.AttrCount).(int64)
		if upper, ok := child.Val(dwarf.AttrUpperBound).(int64); ok && !counted {
			length = upper + 1
		}
		if length < 0 || length > math.MaxInt32 {
			return fmt.Errorf("%w: an array of %d elements", ErrFormat, length)
		}
		lengths = append(lengths, uint32(length))
		return nil
	})
	if err != nil || len(lengths) == 0 || len(lengths) > maxNested {
		return nil, fmt.Errorf("%w: an array without dimensions: %w", ErrFormat, err)
	}
	for i := len(lengths) - 1; i >= 0; i-- {
		t = &btf.Array{Index: indexType, Type: t, Nelems: lengths[i]}
	}
	return t, nil
}

// indexType is the type of indexes of arrays, which says nothing about the array.
var indexType = &btf.Int{Name: "__ARRAY_SIZE_TYPE__", Size: 4}

// children calls each for the children of e. r stands behind e, and then behind the children.
func (c converter) children(r *dwarf.Reader, e *dwarf.Entry, each func(child *dwarf.Entry) error) error {
	if !e.Children {
		return nil
	}
	// SkipChildren would follow a reference to the sibling, which can lead back.
	for depth := 0; ; {
		child, err := c.next(r)
		if err != nil {
			return err
		}
		switch {
		case child.Tag == 0 && depth == 0:
			return nil
		case child.Tag == 0:
			depth--
			continue
		case depth == 0:
			if err := each(child); err != nil {
				return err
			}
		}
		if child.Children {
			depth++
		}
	}
}
