package decode

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/escape"
)

// Limits that only hostile BTF reaches. They bound the size of the compiled type and the work of compiling it.
const (
	maxDepth  = 32
	maxFields = 1 << 16
	maxNames  = 1 << 20            // bytes
	maxSize   = math.MaxUint32 / 4 // RINGBUF_MAX_RECORD_SZ, kernel/bpf/ringbuf.c
)

var (
	errUnsized = errors.New("incomplete type")
	errWidth   = errors.New("unsupported width")
	errLayout  = errors.New("extends beyond the enclosing type or is misaligned")
	errDepth   = errors.New("nested too deeply or recursive")
	errFields  = errors.New("too many fields")
	errNames   = errors.New("names of fields and enumerators are too long in total")
	errSize    = errors.New("type is larger than the largest record")
	errName    = errors.New("name is not UTF-8")
)

// node is a node of the tree of a type: a scalar, an array, or an object (a struct, union or section). Encoding
// walks the tree; decoding runs the operations that flatten makes of the tree.
type node struct {
	op                      // loads and stores the value; json and text are the key of a field
	name   string           // if the node is a field
	index  int              // of the operation that decodes the value
	object bool             // the node is a struct, union or section
	fields []*node          // in the order of the type, including the fields of anonymous members
	byName map[string]*node // fields by name
	elem   *node            // element of an array; nil for a string
	most   int              // maximum number of elements that encoding accepts; -1 for a flexible array
}

// compiler makes the tree of a record or of the element type of an array.
type compiler struct {
	*budget
	size    int         // bytes that the record or element needs
	element bool        // offsets count from the start of an element
	arms    map[int]int // the only member that a union has, by the offset of the union
}

// budget counts what has been compiled for a codec, including the element types of arrays, to bound it.
type budget struct {
	fields int
	names  int // bytes of all names
	enums  map[*btf.Enum]*enum
	// meanings are those of values in the record by their offset, from outside the type.
	meanings map[int]Meaning
}

// addName counts a name. It refuses a name that is not UTF-8, because two such names could look alike in
// JSON. No C compiler emits such names.
func (b *budget) addName(name string) error {
	if b.names += len(name); b.names > maxNames {
		return errNames
	}
	if !utf8.ValidString(name) {
		return errName
	}
	return nil
}

// place is the position of a value in a record or element.
type place struct {
	depth int
	off   int   // bytes from the start of the record or element
	tail  bool  // the value is at the end of the record
	cut   bool  // if the value is an array, the record can end within it
	bits  uint8 // width of a bitfield; 0 for other values
	shift uint8 // first bit of a bitfield within the byte at off
	means Meaning
}

// compile returns the view of t for records that have the members arms, by the offset of their union, and all
// members of other unions.
func compile(t btf.Type, b *budget, arms map[int]int) (*view, error) {
	if _, err := sizeof(t); err != nil {
		return nil, err
	}
	c := compiler{budget: b, arms: arms}
	if err := c.addName(t.TypeName()); err != nil {
		return nil, err
	}
	root, err := c.add(t, place{tail: true, cut: true, means: c.meaning("", t, 0)})
	if err != nil {
		return nil, err
	}
	return newView(root, c.size, b.meanings), nil
}

// count counts a value at p, and returns an error if it exceeds a limit.
func (c *compiler) count(p *place) error {
	if p.depth++; p.depth > maxDepth {
		return errDepth
	}
	if c.fields++; c.fields > maxFields {
		return errFields
	}
	return nil
}

func (c *compiler) add(t btf.Type, p place) (*node, error) {
	if err := c.count(&p); err != nil {
		return nil, err
	}
	t = btf.UnderlyingType(t)
	switch t := t.(type) {
	case *btf.Int:
		return c.addInt(t, p)
	case *btf.Enum:
		return c.addEnum(t, p)
	}
	if p.bits > 0 {
		return nil, errWidth
	}
	switch t := t.(type) {
	case *btf.Float:
		return c.addFloat(t, p)
	case *btf.Pointer:
		p.means = Address
		return c.addScalar(op{kind: kindPointer, size: 8}, p)
	case *btf.Array:
		return c.addArray(t, p)
	}
	if members, size, union, ok := membersOf(t); ok {
		n := &node{op: op{off: p.off, size: uint8(min(size, math.MaxUint8)), meaning: p.means}, object: true, byName: make(map[string]*node, len(members))}
		err := c.addMembers(n, members, size, p, union)
		addLengths(n.fields)
		n.setLeast()
		if o, single := n.single(); single {
			c.size = max(c.size, o.least) // text loads it as a whole
		}
		return n, err
	}
	return nil, errUnsized
}

// addScalar adds a value of o.size bytes, or of p.bits bits.
func (c *compiler) addScalar(o op, p place) (*node, error) {
	o.off, o.width, o.meaning = p.off, o.size*8, p.means
	if p.bits > 0 {
		o.width, o.shift = p.bits, p.shift
		o.size = (p.shift + p.bits + 7) / 8
	}
	o.least = p.off + int(o.size)
	c.size = max(c.size, o.least)
	return &node{op: o}, nil
}

func (c *compiler) addInt(t *btf.Int, p place) (*node, error) {
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
		return nil, errWidth
	}
	return c.addScalar(o, p)
}

func (c *compiler) addFloat(t *btf.Float, p place) (*node, error) {
	switch t.Size {
	case 4, 8:
		return c.addScalar(op{kind: kindFloat, size: uint8(t.Size)}, p)
	case 2, 12, 16:
		return c.addScalar(op{kind: kindHex, size: uint8(t.Size)}, p)
	}
	return nil, errWidth
}

func (c *compiler) addEnum(t *btf.Enum, p place) (*node, error) {
	if !isPowerOf2UpTo8(t.Size) {
		return nil, errWidth
	}
	e, ok := c.enums[t]
	if !ok {
		e = &enum{signed: t.Signed, names: make(map[uint64]enumerator, len(t.Values)), values: make(map[string]uint64, len(t.Values))}
		for _, v := range t.Values {
			if err := c.addName(v.Name); err != nil {
				return nil, err
			}
			e.add(v.Name, e.key(v.Value, uint8(t.Size*8)))
		}
		e.findFlags()
		c.enums[t] = e
	}
	return c.addScalar(op{kind: kindEnum, size: uint8(t.Size), enum: e}, p)
}

func (c *compiler) addArray(t *btf.Array, p place) (*node, error) {
	stride, err := sizeof(t.Type)
	if err != nil {
		return nil, err
	}
	a := &array{stride: stride, rest: p.tail && (p.cut || t.Nelems == 0)}
	n := &node{op: op{kind: kindArray, off: p.off, array: a, meaning: p.means}, most: int(t.Nelems)}
	switch {
	case stride == 0: // elements of size 0 are not shown
		a.rest = false
	case t.Nelems == 0 && a.rest:
		a.n, n.most = math.MaxInt, -1
	default:
		a.n = int(t.Nelems)
	}
	n.least = p.off
	if !a.rest {
		c.size = max(c.size, p.off+a.n*stride)
		n.least += min(1, a.n*stride)
	}
	c.size = max(c.size, p.off)
	if isChar(t.Type) {
		n.kind = kindString
		return n, nil
	}
	elem := compiler{budget: c.budget, element: true}
	means := p.means
	if means != Address {
		means = elem.meaning("", t.Type, 0)
	}
	if n.elem, err = elem.add(t.Type, place{depth: p.depth, means: means}); err != nil {
		return nil, err
	}
	a.elem, a.text = flatten(n.elem, true), flatten(n.elem.clone(true), true)
	return n, nil
}

// membersOf returns the members of a struct, union or section, and its size in bytes.
func membersOf(t btf.Type) (members []btf.Member, size int, union, ok bool) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members, int(t.Size), false, true
	case *btf.Union:
		return t.Members, int(t.Size), true, true
	case *btf.Datasec:
		return variables(t), int(t.Size), false, true
	}
	return nil, 0, false, false
}

// addMembers adds to n the members of a struct or union of size bytes at p, which is n itself or an anonymous
// member of n.
func (c *compiler) addMembers(n *node, members []btf.Member, size int, p place, union bool) error {
	if only, ok := c.arms[p.off]; ok && union && only >= 0 && only < len(members) {
		members, union = members[only:only+1], false
		delete(c.arms, p.off) // not for a union in this one
	}
	for i, m := range members {
		last := i == len(members)-1
		q := place{
			depth: p.depth,
			tail:  p.tail && (last || union),
			cut:   p.cut && last && !union,
		}
		if m.Name == "" && !isObject(m.Type) {
			continue // padding
		}
		if err := q.set(m, size); err != nil {
			return fmt.Errorf("field %q: %w", m.Name, err)
		}
		q.off += p.off
		if err := c.addMember(n, m, q); err != nil {
			return fmt.Errorf("field %q: %w", m.Name, err)
		}
	}
	return nil
}

// addMember adds to n the member m at p.
func (c *compiler) addMember(n *node, m btf.Member, p place) error {
	if m.Name == "" {
		if err := c.count(&p); err != nil {
			return err
		}
		if p.bits > 0 {
			return errWidth
		}
		members, size, union, _ := membersOf(m.Type)
		return c.addMembers(n, members, size, p, union)
	}
	if err := c.addName(m.Name); err != nil {
		return err
	}
	if p.bits == 0 {
		p.means = c.meaning(m.Name, m.Type, p.off)
	}
	f, err := c.add(m.Type, p)
	if err != nil {
		return err
	}
	f.name = m.Name
	f.json = string(append(escape.AppendJSONString(nil, []byte(m.Name)), ':'))
	f.text = string(append(appendTextString(nil, []byte(m.Name)), '='))
	n.fields = append(n.fields, f)
	n.byName[m.Name] = f
	return nil
}

// flexible reports whether records can be longer than the type.
func (n *node) flexible() bool {
	return n.most < 0 || slices.ContainsFunc(n.fields, (*node).flexible)
}

// variables returns the global variables of a section as members of a struct.
func variables(sec *btf.Datasec) (members []btf.Member) {
	for _, v := range sec.Vars {
		if named, ok := v.Type.(*btf.Var); ok && v.Offset < maxSize {
			members = append(members, btf.Member{Name: named.Name, Type: named.Type, Offset: btf.Bits(v.Offset * 8)})
		}
	}
	return members
}

// set sets the place of m, a member of a struct of size bytes, relative to the struct.
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

// sizeof returns the size of t in bytes, and an error if no record is that large.
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

// isChar reports whether an array of t is text, which only char is. C programs use the other types of one byte,
// u8 and signed char, for numbers.
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
