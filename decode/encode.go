package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// ErrMismatch says that JSON does not fit a type: a field that the type does not
// have, a value of another kind or one that is out of range. The text says
// which.
var ErrMismatch = errors.New("does not fit the type")

// Encoder makes records of one type from JSON: the reverse of a [Decoder]. It
// takes what AppendJSON writes, and beyond that
//
//   - fields in any order; one that is missing is zero. Of a union's members the
//     last given wins where they overlap.
//   - arrays of fewer elements and strings of fewer bytes than the type has; the
//     rest is zero. A flexible array gets as many as are given. No NUL is added to a
//     string that fills its array, nor to one in a flexible array.
//   - an array of bytes for any string, as AppendJSON writes those that are not UTF-8.
//   - the number of an enumerator for its name; an integer as a string, in
//     decimal or, after 0x, in hex, for readers and writers that round numbers.
//
// An Encoder does not change and may be used by many goroutines.
type Encoder struct {
	name string
	size int // bytes of the shortest record
	root *value
}

// NewEncoder compiles t; it refuses what [New] refuses.
func NewEncoder(t btf.Type) (*Encoder, error) {
	// It checks all that the tree below relies on: sizes, places, depth.
	_, least, err := compile(t)
	if err != nil {
		return nil, fmt.Errorf("compile type %q: %w", nameOf(t), err)
	}
	e := &Encoder{name: nameOf(t), size: least, root: newValue(t, true)}
	if !e.root.flexible() {
		e.size, err = sizeof(t)
	}
	return e, err
}

// Name is the C name of the type, without "struct".
func (e *Encoder) Name() string { return e.name }

// Size is the length in bytes of the shortest record.
func (e *Encoder) Size() int { return e.size }

// AppendRecord appends the record for one JSON value to dst, limit bytes at
// most. After an error dst holds what it held before. Errors: [ErrMismatch],
// [ErrTooLong], and the parser's for what is no JSON.
func (e *Encoder) AppendRecord(dst, text []byte, limit int) ([]byte, error) {
	p := parser{dec: json.NewDecoder(bytes.NewReader(text)), start: len(dst), limit: limit}
	p.dec.UseNumber()
	p.record = dst
	err := p.grow(e.size)
	if err == nil {
		err = p.value(e.root, 0)
	}
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return p.record[:len(dst)], fmt.Errorf("encode %s: %w", e.name, err)
	}
	return p.record, nil
}

// value is a place in a record that takes a JSON value.
type value struct {
	op                      // how to store a scalar; off, from the start of the record or element
	name  string            // of a field
	tail  bool              // nothing of the record follows, so a flexible array can grow
	enums map[string]uint64 // sign-extended
	elem  *value            // of an array
	n     int               // its elements, or -1: flexible
	step  int               // and their size
	named map[string]*value // of a struct or union: its fields, those of anonymous members too
}

// newValue compiles a type that compile accepts.
func newValue(t btf.Type, tail bool) *value {
	v := &value{tail: tail}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Int:
		v.setInt(t)
	case *btf.Enum:
		v.kind, v.size = kindEnum, uint8(t.Size)
		v.enum, v.enums = &enum{signed: t.Signed}, make(map[string]uint64, len(t.Values))
		for _, e := range t.Values {
			bits := lowBits(e.Value, uint8(t.Size*8))
			if t.Signed {
				bits = uint64(signed(bits, uint8(t.Size*8)))
			}
			if _, ok := v.enums[e.Name]; !ok {
				v.enums[e.Name] = bits
			}
		}
	case *btf.Float:
		v.kind, v.size = kindFloat, uint8(t.Size)
		if t.Size != 4 && t.Size != 8 {
			v.kind = kindHex
		}
	case *btf.Pointer:
		v.kind, v.size = kindPointer, 8
	case *btf.Array:
		v.setArray(t)
	case *btf.Struct:
		v.named = make(map[string]*value, len(t.Members))
		v.addMembers(t.Members, int(t.Size), 0, tail, false)
	case *btf.Union:
		v.named = make(map[string]*value, len(t.Members))
		v.addMembers(t.Members, int(t.Size), 0, tail, true)
	}
	v.width = v.size * 8
	return v
}

func (v *value) setInt(t *btf.Int) {
	v.kind, v.size = kindUint, uint8(t.Size)
	switch {
	case t.Encoding == btf.Bool:
		v.kind = kindBool
	case t.Size == 16 && t.Encoding == btf.Signed:
		v.kind = kindInt128
	case t.Size == 16:
		v.kind = kindUint128
	case t.Encoding == btf.Signed:
		v.kind = kindInt
	}
}

func (v *value) setArray(t *btf.Array) {
	v.kind, v.n = kindArray, int(t.Nelems)
	v.step, _ = sizeof(t.Type)
	if t.Nelems == 0 && v.tail && v.step > 0 {
		v.n = -1
	}
	if isChar(t.Type) {
		v.kind = kindString
		return
	}
	v.elem = newValue(t.Type, false)
}

// addMembers adds the fields of a struct or union that lies at off.
func (v *value) addMembers(members []btf.Member, size, off int, tail, union bool) {
	for i, m := range members {
		var at place
		_ = at.set(m, size) // compile has been through it
		inner := tail && (union || i == len(members)-1)
		if m.Name == "" {
			switch t := btf.UnderlyingType(m.Type).(type) {
			case *btf.Struct:
				v.addMembers(t.Members, int(t.Size), off+at.off, inner, false)
			case *btf.Union:
				v.addMembers(t.Members, int(t.Size), off+at.off, inner, true)
			} // else padding
			continue
		}
		f := newValue(m.Type, inner)
		f.name, f.off = m.Name, off+at.off
		if at.bits > 0 {
			f.width, f.shift = at.bits, at.shift
			f.size = (at.shift + at.bits + 7) / 8
		}
		v.named[m.Name] = f
	}
}

// flexible reports whether records may be longer than the type.
func (v *value) flexible() bool {
	if v.n < 0 {
		return true
	}
	for _, f := range v.named {
		if f.flexible() {
			return true
		}
	}
	return false
}

// parser is the encoding of one record.
type parser struct {
	dec    *json.Decoder
	record []byte
	start  int // where the record begins in it
	limit  int // of its length
}

// grow makes the record n bytes long if it is shorter.
func (p *parser) grow(n int) error {
	if n > p.limit {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLong, p.limit)
	}
	if missing := n - (len(p.record) - p.start); missing > 0 {
		p.record = append(p.record, make([]byte, missing)...)
	}
	return nil
}

// token returns the next token.
func (p *parser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

// end returns an error unless the text ends here.
func (p *parser) end() error {
	switch _, err := p.dec.Token(); {
	case err == nil:
		return fmt.Errorf("%w: more than one value", ErrMismatch)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// value stores the next value of the text; v.off counts from base.
func (p *parser) value(v *value, base int) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	base += v.off
	switch {
	case v.named != nil:
		return p.object(v, t, base)
	case v.kind == kindArray:
		return p.array(v, t, base)
	case v.kind == kindString:
		return p.string(v, t, base)
	}
	bits, err := v.parse(t)
	if err == nil {
		err = p.grow(base + int(v.size))
	}
	if err != nil {
		return err
	}
	v.store(p.record[p.start+base:], bits)
	return nil
}

func (p *parser) object(v *value, t json.Token, base int) error {
	if t != json.Delim('{') {
		return wrongKind(t, "an object")
	}
	seen := make(map[string]bool, len(v.named))
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		name := t.(string) // the parser takes nothing else here
		f := v.named[name]
		switch {
		case f == nil:
			return fmt.Errorf("%w: it has no field %q", ErrMismatch, name)
		case seen[name]:
			return fmt.Errorf("%w: field %q is given twice", ErrMismatch, name)
		}
		seen[name] = true
		if err := p.value(f, base); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
	}
	_, err := p.token()
	return err
}

func (p *parser) array(v *value, t json.Token, base int) error {
	if t != json.Delim('[') {
		return wrongKind(t, "an array")
	}
	for i := 0; p.dec.More(); i++ {
		if v.n >= 0 && i >= v.n {
			return fmt.Errorf("%w: more than %d elements", ErrMismatch, v.n)
		}
		at := base + i*v.step
		err := p.grow(at + v.step)
		if err == nil {
			err = p.value(v.elem, at)
		}
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	_, err := p.token()
	return err
}

// string stores a char array from a string or an array of bytes.
func (p *parser) string(v *value, t json.Token, base int) error {
	s, ok := t.(string)
	if t == json.Delim('[') {
		bytes, err := p.bytes(v.n)
		if err != nil {
			return err
		}
		s, ok = string(bytes), true
	}
	if !ok {
		return wrongKind(t, "a string")
	}
	if v.n >= 0 && len(s) > v.n {
		return fmt.Errorf("%w: a string of %d bytes, more than %d", ErrMismatch, len(s), v.n)
	}
	size := max(len(s), v.n)
	if err := p.grow(base + size); err != nil {
		return err
	}
	field := p.record[p.start+base:][:size]
	clear(field[copy(field, s):])
	return nil
}

// bytes returns the elements of an array of at most n bytes, or if n is negative of at most
// p.limit.
func (p *parser) bytes(n int) ([]byte, error) {
	if n < 0 {
		n = p.limit
	}
	var bytes []byte
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, wrongKind(t, "a byte")
		}
		b, err := strconv.ParseUint(number.String(), 10, 8)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w: %s is not a byte (0 to 255)", len(bytes), ErrMismatch, short(number.String()))
		}
		if len(bytes) == n {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrMismatch, n)
		}
		bytes = append(bytes, byte(b))
	}
	_, err := p.token()
	return bytes, err
}

// wrongKind says that t is not what the type wants.
func wrongKind(t json.Token, want string) error {
	got := "null"
	switch t := t.(type) {
	case json.Delim:
		got = map[json.Delim]string{'{': "an object", '[': "an array"}[t]
	case json.Number:
		got = "the number " + short(t.String())
	case bool:
		got = fmt.Sprint(t)
	case string:
		got = fmt.Sprintf("the string %q", short(t))
	}
	return fmt.Errorf("%w: %s, wanted %s", ErrMismatch, got, want)
}

// short is s, cut where a message would get too long.
func short(s string) string {
	if len(s) > 32 {
		return s[:32] + "..."
	}
	return s
}
