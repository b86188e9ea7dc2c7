package decode

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

var (
	// ErrShort says that a record has fewer bytes than its type needs.
	ErrShort = errors.New("record is shorter than its type")

	// ErrTooLong says that a record would make more output than any sane type
	// does. See the package comment for the bound.
	ErrTooLong = errors.New("output is too long")
)

// Decoder decodes the records of one type.
type Decoder struct {
	typ  btf.Type
	name string
	size int
	ops  []op
}

// New compiles t, of any kind that has a size. It refuses types that it does
// not know how to show and types that only a broken or hostile BTF has.
func New(t btf.Type) (*Decoder, error) {
	name := nameOf(t)
	ops, size, err := compile(t)
	if err != nil {
		return nil, fmt.Errorf("compile type %q: %w", name, err)
	}
	return &Decoder{typ: t, name: name, size: size, ops: ops}, nil
}

// Name is the C name of the type, without "struct".
func (d *Decoder) Name() string { return d.name }

// Type is the type that was compiled.
func (d *Decoder) Type() btf.Type { return d.typ }

// Size is the length in bytes of the shortest record that can be decoded.
func (d *Decoder) Size() int { return d.size }

// AppendJSON appends the JSON of a record to dst. After an error dst holds
// what it held before.
func (d *Decoder) AppendJSON(dst, record []byte) ([]byte, error) {
	return d.run(dst, record, nil, false)
}

// AppendText appends a record as key=value pairs to dst, which end without a
// newline. With columns, values are padded so that those of successive records
// stand below each other; nil pads nothing. After an error dst holds what it
// held before.
func (d *Decoder) AppendText(dst, record []byte, columns *Columns) ([]byte, error) {
	return d.run(dst, record, columns, true)
}

func (d *Decoder) run(dst, record []byte, columns *Columns, text bool) ([]byte, error) {
	if len(record) < d.size {
		return dst, fmt.Errorf("decode %d bytes as %s: %w (%d bytes)", len(record), d.name, ErrShort, d.size)
	}
	r := run{
		out:     dst,
		limit:   int64(len(dst)) + 1<<20 + 256*int64(len(record)),
		text:    text,
		columns: columns,
	}
	if !r.do(d.ops, record) {
		return r.out[:len(dst)], fmt.Errorf("decode %d bytes as %s: %w", len(record), d.name, ErrTooLong)
	}
	return r.out, nil
}

// Columns is the width of each column of text so far. The zero value is ready
// for the first record of a stream. It belongs to one goroutine, and to
// records of one Decoder.
type Columns struct{ widths []int }

// maxColumn bounds the padding of a column, so that one long string does not
// push the others out of the window for ever.
const maxColumn = 32

// pad appends the spaces that column i lacks; width is what its value takes.
func (c *Columns) pad(dst []byte, i, width int) []byte {
	for i >= len(c.widths) {
		c.widths = append(c.widths, 0)
	}
	c.widths[i] = max(c.widths[i], min(width, maxColumn))
	for ; width < c.widths[i]; width++ {
		dst = append(dst, ' ')
	}
	return dst
}

// nameOf is what a type is called in C, or what it is where it has no name.
func nameOf(t btf.Type) string {
	if name := t.TypeName(); name != "" {
		return name
	}
	switch t := t.(type) {
	case *btf.Const:
		return nameOf(t.Type)
	case *btf.Volatile:
		return nameOf(t.Type)
	}
	return fmt.Sprintf("anonymous %T", t)
}
