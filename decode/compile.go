package decode

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/escape"
)

// What a sane type stays far below. Only BTF that lies comes near: the limits
// keep small what is compiled, and the work of compiling it.
const (
	maxDepth  = 32
	maxFields = 1 << 16
	maxNames  = 1 << 20            // bytes
	maxSize   = math.MaxUint32 / 4 // RINGBUF_MAX_RECORD_SZ, kernel/bpf/ringbuf.c
)

var (
	errUnsized = errors.New("incomplete type")
	errWidth   = errors.New("unknown width")
	errLayout  = errors.New("lies outside of its type")
	errDepth   = errors.New("nested too deep, or in itself")
	errFields  = errors.New("too many fields")
	errNames   = errors.New("names too long")
	errSize    = errors.New("larger than any record")
	errName    = errors.New("name is not UTF-8")
)

// compiler makes the operations for a record, or for one element of an array.
type compiler struct {
	*budget
	ops []op
	// The names and punctuation since the last operation, for the next one.
	json, text []byte
	opened     bool // an object was opened and has no member yet
	element    bool
	size       int // bytes that the operations need
	field      *field
}

// budget is what the compilers of a record and of its arrays' elements share.
type budget struct {
	fields int
	names  int // bytes
	enums  map[*btf.Enum]*enum
}

// addName counts a name. It refuses names that are not UTF-8: two of them could look alike in
// JSON. C compilers make none.
func (b *budget) addName(name string) error {
	if b.names += len(name); b.names > maxNames {
		return errNames
	}
	if !utf8.ValidString(name) {
		return errName
	}
	return nil
}

// place is where a value stands.
type place struct {
	depth int
	off   int  // bytes from the start of the record or element
	flat  bool // its members belong to the object around it
	tail  bool // nothing of the record follows
	cut   bool // the record may end within it, if it is an array
	bits  uint8
	shift uint8 // of a bitfield: its first bit within the byte at off
}

func compile(t btf.Type) (ops []op, size int, err error) {
	if _, err := sizeof(t); err != nil {
		return nil, 0, err
	}
	c := compiler{budget: &budget{enums: make(map[*btf.Enum]*enum)}}
	if err := c.addName(t.TypeName()); err != nil {
		return nil, 0, err
	}
	if err := c.add(t, place{tail: true, cut: true}); err != nil {
		return nil, 0, err
	}
	if err := c.finish(); err != nil {
		return nil, 0, err
	}
	return c.ops, c.size, nil
}

// finish adds the punctuation after the last value.
func (c *compiler) finish() error {
	if len(c.json) == 0 && len(c.text) == 0 {
		return nil
	}
	return c.emit(op{kind: kindLiteral}, 0)
}

// emit adds an operation that needs the record up to end.
func (c *compiler) emit(o op, end int) error {
	if n := len(c.ops); n > 0 && !c.element && len(c.text) > 0 && c.text[0] == ' ' {
		c.ops[n-1].column = true // spaces follow anyway
	}
	o.json, o.text = string(c.json), string(c.text)
	o.field = c.field
	c.json, c.text = c.json[:0], c.text[:0]
	c.ops = append(c.ops, o)
	c.size = max(c.size, end)
	return nil
}

func (c *compiler) add(t btf.Type, p place) error {
	if p.depth++; p.depth > maxDepth {
		return errDepth
	}
	if c.fields++; c.fields > maxFields {
		return errFields
	}
	t = btf.UnderlyingType(t)
	switch t := t.(type) {
	case *btf.Int:
		return c.addInt(t, p)
	case *btf.Enum:
		return c.addEnum(t, p)
	}
	if p.bits > 0 {
		return errWidth
	}
	switch t := t.(type) {
	case *btf.Float:
		return c.addFloat(t, p)
	case *btf.Pointer:
		return c.addScalar(op{kind: kindPointer, size: 8}, p)
	case *btf.Array:
		return c.addArray(t, p)
	case *btf.Struct:
		return c.addObject(t.Members, int(t.Size), p, false)
	case *btf.Union:
		return c.addObject(t.Members, int(t.Size), p, true)
	case *btf.Datasec:
		return c.addObject(variables(t), int(t.Size), p, false)
	}
	return errUnsized
}

// addScalar adds a value of o.size bytes, or of p.bits bits.
func (c *compiler) addScalar(o op, p place) error {
	o.off, o.width = p.off, o.size*8
	if p.bits > 0 {
		o.width, o.shift = p.bits, p.shift
		o.size = (p.shift + p.bits + 7) / 8
	}
	return c.emit(o, p.off+int(o.size))
}

func (c *compiler) addInt(t *btf.Int, p place) error {
	o := op{kind: kindUint, size: uint8(t.Size)}
	switch t.Encoding {
	case btf.Bool:
		o.kind = kindBool
	case btf.Signed:
		o.kind = kindInt
	}
	switch {
	case isPowerOf2UpTo8(t.Size):
	case t.Size == 16 && p.bits == 0 && o.kind == kindUint:
		o.kind = kindUint128
	case t.Size == 16 && p.bits == 0 && o.kind == kindInt:
		o.kind = kindInt128
	default:
		return errWidth
	}
	return c.addScalar(o, p)
}

func (c *compiler) addFloat(t *btf.Float, p place) error {
	switch t.Size {
	case 4, 8:
		return c.addScalar(op{kind: kindFloat, size: uint8(t.Size)}, p)
	case 2, 12, 16:
		return c.addScalar(op{kind: kindHex, size: uint8(t.Size)}, p)
	}
	return errWidth
}

func (c *compiler) addEnum(t *btf.Enum, p place) error {
	if !isPowerOf2UpTo8(t.Size) {
		return errWidth
	}
	e, ok := c.enums[t]
	if !ok {
		e = &enum{signed: t.Signed, names: make(map[uint64]enumerator, len(t.Values))}
		for _, v := range t.Values {
			if err := c.addName(v.Name); err != nil {
				return err
			}
			name := enumerator{
				json: string(escape.AppendJSONString(nil, []byte(v.Name))),
				text: string(appendTextString(nil, []byte(v.Name))),
			}
			if value := e.key(v.Value, uint8(t.Size*8)); e.names[value].json == "" {
				e.names[value] = name
			}
		}
		c.enums[t] = e
	}
	return c.addScalar(op{kind: kindEnum, size: uint8(t.Size), enum: e}, p)
}

func (c *compiler) addArray(t *btf.Array, p place) error {
	stride, err := sizeof(t.Type)
	if err != nil {
		return err
	}
	a := &array{stride: stride, rest: p.tail && (p.cut || t.Nelems == 0)}
	switch {
	case stride == 0: // however many there are, they say nothing
		a.rest = false
	case t.Nelems == 0 && a.rest:
		a.n = math.MaxInt
	default:
		a.n = int(t.Nelems)
	}
	end := p.off
	if !a.rest {
		end += a.n * stride
	}
	if isChar(t.Type) {
		return c.emit(op{kind: kindString, off: p.off, array: a}, end)
	}
	elem := compiler{budget: c.budget, element: true}
	if err := elem.add(t.Type, place{depth: p.depth}); err != nil {
		return err
	}
	if err := elem.finish(); err != nil {
		return err
	}
	a.elem = elem.ops
	return c.emit(op{kind: kindArray, off: p.off, array: a}, end)
}

// addObject adds a struct or union of size bytes.
func (c *compiler) addObject(members []btf.Member, size int, p place, union bool) error {
	braces := p.depth > 1 || c.element // not around the record in text
	if !p.flat {
		c.json = append(c.json, '{')
		if braces {
			c.text = append(c.text, '{')
		}
		c.opened = true
	}
	for i, m := range members {
		last := i == len(members)-1
		q := place{
			depth: p.depth,
			flat:  m.Name == "",
			tail:  p.tail && (last || union),
			cut:   p.cut && last && !union,
		}
		if q.flat && !isObject(m.Type) {
			continue // padding
		}
		if err := q.set(m, size); err != nil {
			return fmt.Errorf("field %q: %w", m.Name, err)
		}
		q.off += p.off
		outer := c.field
		if !q.flat {
			if err := c.addName(m.Name); err != nil {
				return fmt.Errorf("field %q: %w", m.Name, err)
			}
			c.key(m.Name)
			c.field = &field{m.Name, outer}
		}
		err := c.add(m.Type, q)
		c.field = outer
		if err != nil {
			return fmt.Errorf("field %q: %w", m.Name, err)
		}
	}
	if !p.flat {
		c.json = append(c.json, '}')
		if braces {
			c.text = append(c.text, '}')
		}
		c.opened = false
	}
	return nil
}

// variables are the global variables of a section, as members of a struct.
func variables(sec *btf.Datasec) (members []btf.Member) {
	for _, v := range sec.Vars {
		if named, ok := v.Type.(*btf.Var); ok && v.Offset < maxSize {
			members = append(members, btf.Member{Name: named.Name, Type: named.Type, Offset: btf.Bits(v.Offset * 8)})
		}
	}
	return members
}

// key adds the name of a member.
func (c *compiler) key(name string) {
	if !c.opened {
		c.json = append(c.json, ',')
		c.text = append(c.text, ' ')
	}
	c.opened = false
	c.json = append(escape.AppendJSONString(c.json, []byte(name)), ':')
	c.text = append(appendTextString(c.text, []byte(name)), '=')
}

// set places m, of a struct of size bytes, relative to the struct.
func (p *place) set(m btf.Member, size int) error {
	bits := uint64(m.BitfieldSize)
	if bits == 0 {
		n, err := sizeof(m.Type)
		if err != nil {
			return err
		}
		bits = uint64(n) * 8
		if m.Offset%8 != 0 {
			return errLayout
		}
	} else {
		if bits > 64 {
			return errWidth
		}
		p.bits, p.shift = uint8(bits), uint8(m.Offset%8)
	}
	if uint64(m.Offset)+bits > uint64(size)*8 {
		return errLayout
	}
	p.off = int(m.Offset / 8)
	return nil
}

// sizeof is btf.Sizeof for what can be in a record.
func sizeof(t btf.Type) (int, error) {
	size, err := btf.Sizeof(t)
	if err != nil {
		return 0, errUnsized
	}
	if size < 0 || size > maxSize {
		return 0, errSize
	}
	return size, nil
}

// isChar says whether an array of t is text. The other types of one byte are
// numbers in C programs: u8, signed char.
func isChar(t btf.Type) bool {
	i, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && i.Size == 1 && (i.Name == "char" || i.Encoding == btf.Char)
}

func isObject(t btf.Type) bool {
	switch btf.UnderlyingType(t).(type) {
	case *btf.Struct, *btf.Union:
		return true
	}
	return false
}

func isPowerOf2UpTo8(n uint32) bool { return n == 1 || n == 2 || n == 4 || n == 8 }
