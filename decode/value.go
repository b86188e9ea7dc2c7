package decode

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// Kind is what a field becomes as a Go value, see [Selection.Values].
type Kind uint8

const (
	Int    Kind = iota // int
	Uint64             // uint64
	Bool               // bool
	Float              // float64
	String             // string
	Big                // *big.Int
	List               // []any
)

// Field is a field of a record, or of the elements of an array, that is no struct or union:
// their members are Fields instead.
type Field struct {
	// Path is the names of the members around it and its own. It is empty for a
	// record or an element that is no struct.
	Path []string
	Kind Kind
	// Elem is what the elements of a List are made of.
	Elem []Field
	// Enumerators are the names that an enum has.
	Enumerators []string
}

// Fields returns the fields of the type, in their order.
func (d *Decoder) Fields() []Field { return fieldsOf(d.ops) }

func fieldsOf(ops []op) (fields []Field) {
	for i := range ops {
		o := &ops[i]
		if o.kind == kindLiteral {
			continue
		}
		f := Field{Path: o.field.path(), Kind: o.goKind()}
		if o.kind == kindArray {
			f.Elem = fieldsOf(o.array.elem)
		}
		if o.kind == kindEnum {
			for _, e := range o.enum.names {
				f.Enumerators = append(f.Enumerators, e.text)
			}
			slices.Sort(f.Enumerators)
		}
		fields = append(fields, f)
	}
	return fields
}

func (o *op) goKind() Kind {
	switch o.kind {
	case kindUint:
		if o.width == 64 {
			return Uint64
		}
		return Int
	case kindPointer:
		return Uint64
	case kindBool:
		return Bool
	case kindFloat:
		return Float
	case kindUint128, kindInt128:
		return Big
	case kindArray:
		return List
	case kindEnum, kindString, kindHex:
		return String
	}
	return Int
}

// Selection makes Go values of some of a type's fields.
type Selection struct {
	d   *Decoder
	ops []op
}

// Select returns a Selection of the members of the record itself that have one of the
// names, or of all without names. Other fields cost nothing.
func (d *Decoder) Select(names ...string) *Selection {
	s := &Selection{d: d}
	for _, o := range d.ops {
		path := o.field.path()
		if o.kind != kindLiteral && (len(names) == 0 || len(path) > 0 && slices.Contains(names, path[0])) {
			s.ops = append(s.ops, o)
		}
	}
	return s
}

// Values returns the fields of a record: a map[string]any for a struct or union, in which
//
//   - an integer or bitfield is an int, or a uint64 if it is unsigned with 64
//     bits, or a *big.Int if it has 128; a pointer is a uint64,
//   - a bool is a bool, a float or double a float64, another float a string of its bytes,
//   - an enum is a string: its enumerator, or a decimal number without one,
//   - a char array is a string up to the NUL, any other array a []any.
//
// Its errors are those of [Decoder.AppendJSON]: there are no more values than that has text.
func (s *Selection) Values(record []byte) (any, error) {
	d := s.d
	if len(record) < d.size {
		return nil, fmt.Errorf("decode %d bytes as %s: %w (%d bytes)", len(record), d.name, ErrShort, d.size)
	}
	left := 1<<16 + 64*len(record)
	v, ok := values(s.ops, record, &left)
	if !ok {
		return nil, fmt.Errorf("decode %d bytes as %s: %w", len(record), d.name, ErrTooLong)
	}
	return v, nil
}

// values returns what ops say of b. It reports false when that is more than what is left.
func values(ops []op, b []byte, left *int) (any, bool) {
	var fields map[string]any
	for i := range ops {
		o := &ops[i]
		if o.kind == kindLiteral {
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

// into returns the map that has the members of f.
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
		return string(o.array.bytes(b[o.off:])), true
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
	// An enum, or a float that Go does not have: the same text as elsewhere.
	r := run{text: true, limit: math.MaxInt64}
	r.value(o, b)
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
