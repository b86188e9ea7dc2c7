package decode

import "strings"

// Number reads one field of records: an integer, a pointer, a bool, or the number of an enum. Any number of goroutines
// can use it.
type Number struct {
	c       *Codec
	ops     map[*view]*op // a record can lack the field, if it is in a union
	signed  bool
	meaning Meaning
}

// Number returns what reads the field of this name, such as "pid" or "src.port". It returns false if the type has no
// such field, or if the field is not a number of at most 64 bits.
func (c *Codec) Number(name string) (*Number, bool) {
	n := &Number{c: c, ops: map[*view]*op{}}
	n.add(&c.view, name)
	for _, v := range c.arms {
		n.add(v, name)
	}
	return n, len(n.ops) > 0
}

func (n *Number) add(v *view, name string) {
	for i := range v.ops {
		o := &v.ops[i]
		if o.kind == kindLiteral || strings.Join(o.field.path(), ".") != name {
			continue
		}
		if o.scalar() {
			n.ops[v], n.meaning = o, o.meaning
			n.signed = o.kind == kindInt || o.kind == kindEnum && o.enum.signed
		}
	}
}

// Signed reports whether Load returns a value in two's complement.
func (n *Number) Signed() bool { return n.signed }

// Meaning returns what the number stands for.
func (n *Number) Meaning() Meaning { return n.meaning }

// Load returns the number in a record, extended to 64 bits by its sign if it is signed. It returns false if the record does
// not have it.
func (n *Number) Load(record []byte) (uint64, bool) {
	o := n.ops[n.c.viewOf(record)]
	if o == nil || len(record) < o.off+int(o.size) {
		return 0, false
	}
	v := o.load(record)
	if n.signed {
		v = uint64(signed(v, o.width))
	}
	return v, true
}
