package decode

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
)

// Field is a field of a record, or of the elements of an array. A struct or union is not a Field: its members
// are.
type Field struct {
	// Path has the names of the enclosing members, the outermost first, and then of the field. It
	// is empty if the record or element is a single value, not a struct.
	Path []string
	// Type is the Go type of its value: int, uint64, bool, float64, string, *big.Int or []any, see
	// [Selection.Values].
	Type reflect.Type
	// Elem has the fields of the elements if Type is []any; otherwise nil.
	Elem []Field
	// Meaning is what its numbers stand for, as far as it is known.
	Meaning Meaning
	// Enumerators are the names of an enum's values, sorted; nil for other types.
	Enumerators []string
	// Numbers are the values of Enumerators, in their order: those above the greatest int64 as negative numbers of the same bits.
	Numbers []int64
}

// Fields returns the fields of the type, in order. The caller may change the result.
func (c *Codec) Fields() []Field { return fieldsOf(c.ops) }

func fieldsOf(ops []op) (fields []Field) {
	for i := range ops {
		o := &ops[i]
		if o.kind == kindLiteral {
			continue
		}
		f := Field{Path: o.field.path(), Type: o.goType(), Meaning: o.meaning}
		if o.kind == kindArray {
			f.Elem = fieldsOf(o.array.elem)
		}
		if o.kind == kindEnum {
			f.Enumerators, f.Numbers = o.enum.sorted()
		}
		fields = append(fields, f)
	}
	return fields
}

// sorted returns the enumerators, sorted, and their numbers.
func (e *enum) sorted() (names []string, numbers []int64) {
	keys := map[string]uint64{}
	for key, n := range e.names {
		keys[n.text] = key
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		names, numbers = append(names, name), append(numbers, int64(keys[name]))
	}
	return names, numbers
}

// goType returns the type of the values that op.value returns.
func (o *op) goType() reflect.Type {
	switch o.kind {
	case kindUint:
		if o.width == 64 {
			return reflect.TypeFor[uint64]()
		}
		return reflect.TypeFor[int]()
	case kindPointer:
		return reflect.TypeFor[uint64]()
	case kindBool:
		return reflect.TypeFor[bool]()
	case kindFloat:
		return reflect.TypeFor[float64]()
	case kindUint128, kindInt128:
		return reflect.TypeFor[*big.Int]()
	case kindArray:
		return reflect.TypeFor[[]any]()
	case kindEnum, kindString, kindHex:
		return reflect.TypeFor[string]()
	}
	return reflect.TypeFor[int]()
}

// Selection converts some of a type's fields to Go values. Any number of goroutines can use it.
type Selection struct {
	c    *Codec
	ops  []op
	arms map[*view][]op // for records with certain members of their unions
}

// Select returns a Selection of the record's members with the given names, or of all
// members if no names are given. The names are those of outermost members: to select a
// struct selects all its fields. Select ignores names that the type does not have. Only
// selected fields cost time.
func (c *Codec) Select(names ...string) *Selection {
	s := &Selection{c: c, ops: c.view.selected(names), arms: map[*view][]op{}}
	for _, v := range c.arms {
		s.arms[v] = v.selected(names)
	}
	return s
}

// selected returns the operations of the members with the given names.
func (v *view) selected(names []string) (ops []op) {
	for _, o := range v.ops {
		path := o.field.path()
		if o.kind != kindLiteral && (len(names) == 0 || len(path) > 0 && slices.Contains(names, path[0])) {
			ops = append(ops, o)
		}
	}
	return ops
}

// Values returns a record as a Go value:
//
//   - a struct or union is a map[string]any of its members,
//   - an integer or bitfield is an int, or a uint64 if it is unsigned with 64
//     bits, or a *big.Int if it has 128; a pointer is a uint64,
//   - a bool is a bool, a float or double a float64, a float of another size a string: 0x and its hex digits,
//   - an enum is a string: its enumerator, those of its flags as in "READ|WRITE", or a decimal number if it has none,
//   - a char array is a string, as in JSON, any other array a []any.
//
// It has only the fields that AppendJSON shows; not the bytes after a header. The result does not refer to the
// memory of record. An error matches [ErrShort], or
// [ErrTooLong] if the record has more than 65,536 values plus 64 for each of its bytes.
func (s *Selection) Values(record []byte) (any, error) {
	v := s.c.viewOf(record)
	if len(record) < v.size && !s.c.cuts(v, record) {
		return nil, s.c.short(v, record)
	}
	ops, left := s.ops, 1<<16+64*len(record)
	if v != &s.c.view {
		ops = s.arms[v]
	}
	value, ok := values(ops, record, &left)
	if !ok {
		return nil, fmt.Errorf("decode %d bytes as %s: %w", len(record), s.c.name, ErrTooLong)
	}
	return value, nil
}

// values returns the values that ops decode from b. It subtracts their number from left, and returns false if
// left becomes negative.
func values(ops []op, b []byte, left *int) (any, bool) {
	var fields map[string]any
	for i := range ops {
		o := &ops[i]
		if o.kind == kindLiteral || o.least > len(b) {
			continue
		}
		if *left--; *left < 0 {
			return nil, false
		}
		v, ok := o.value(b, left)
		if !ok {
			return nil, false
		}
		if o.field == nil {
			return v, true
		}
		if fields == nil {
			fields = make(map[string]any, len(ops))
		}
		into(fields, o.field.up)[o.field.name] = v
	}
	if fields == nil {
		fields = map[string]any{} // a struct without members
	}
	return fields, true
}

// into returns the map for the members of f, which is fields itself if f is nil, and adds it if it is absent.
func into(fields map[string]any, f *field) map[string]any {
	if f == nil {
		return fields
	}
	outer := into(fields, f.up)
	m, ok := outer[f.name].(map[string]any)
	if !ok {
		m = map[string]any{}
		outer[f.name] = m
	}
	return m
}

// value returns the value of o in b.
func (o *op) value(b []byte, left *int) (any, bool) {
	switch o.kind {
	case kindUint:
		if o.width == 64 {
			return o.load(b), true
		}
		return int(o.load(b)), true
	case kindInt:
		return int(signed(o.load(b), o.width)), true
	case kindPointer:
		return o.load(b), true
	case kindBool:
		return o.load(b) != 0, true
	case kindString:
		return string(o.chars(b)), true
	case kindUint128, kindInt128:
		text := appendInt128(nil, binary.LittleEndian.Uint64(b[o.off+8:]), binary.LittleEndian.Uint64(b[o.off:]), o.kind == kindInt128)
		v, _ := new(big.Int).SetString(string(text), 10)
		return v, true
	case kindFloat:
		if o.size == 4 {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(b[o.off:]))), true
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(b[o.off:])), true
	case kindArray:
		return o.array.values(b[o.off:], left)
	}
	// An enum, or a float of a size that Go does not have: its text, as in AppendText.
	r := run{text: true, limit: math.MaxInt64}
	if o.kind != kindEnum || !r.unnamedFlags(o, b) {
		r.value(o, b)
	}
	return string(r.out), true
}

func (a *array) values(b []byte, left *int) (any, bool) {
	list := []any{}
	for i := range a.len(b) {
		v, ok := values(a.elem, b[i*a.stride:(i+1)*a.stride], left)
		if *left--; !ok || *left < 0 {
			return nil, false
		}
		list = append(list, v)
	}
	return list, true
}
