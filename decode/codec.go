package decode

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

var (
	// ErrShort reports a record with fewer bytes than its type needs.
	ErrShort = errors.New("record is shorter than its type")

	// ErrTooLong reports a record whose output exceeds the limit in the package comment, a record
	// with more values than [Selection.Values] returns, or JSON whose record exceeds the caller's
	// limit.
	ErrTooLong = errors.New("output is too long")
)

// Codec is a compiled type. It decodes and encodes the records of that type. A Codec does not
// change: any number of goroutines can use it. Its methods do not keep the slices passed to them.
type Codec struct {
	typ  btf.Type
	name string
	root *node
	ops  []op // flatten(root)
	size int  // bytes of the shortest record that can be decoded
	full int  // bytes of the shortest record that AppendRecord makes
}

// New compiles t, which can be of any kind that has a size. It refuses types that it cannot show, and types
// that only broken or hostile BTF contains. The Codec keeps t: do not change t afterwards.
func New(t btf.Type) (*Codec, error) {
	name := nameOf(t)
	root, size, err := compile(t)
	if err != nil {
		return nil, fmt.Errorf("compile type %q: %w", name, err)
	}
	c := &Codec{typ: t, name: name, root: root, ops: flatten(root, false), size: size, full: size}
	if !root.flexible() {
		c.full, err = sizeof(t)
	}
	return c, err
}

// Name returns the C name of the type, without "struct", or a description of a type without a name.
func (c *Codec) Name() string { return c.name }

// Type returns the type that was compiled. The caller must not change it.
func (c *Codec) Type() btf.Type { return c.typ }

// Size returns the length in bytes of the shortest record that can be decoded.
func (c *Codec) Size() int { return c.size }

// AppendJSON appends the JSON of a record to dst, without a newline. An error matches [ErrShort] or
// [ErrTooLong]; AppendJSON then returns dst unchanged.
func (c *Codec) AppendJSON(dst, record []byte) ([]byte, error) {
	return c.run(dst, record, nil, false)
}

// AppendText appends a record as key=value pairs to dst, without a newline. If columns is not nil, it pads
// values so that those of successive records align. Errors are those of AppendJSON.
func (c *Codec) AppendText(dst, record []byte, columns *Columns) ([]byte, error) {
	return c.run(dst, record, columns, true)
}

func (c *Codec) run(dst, record []byte, columns *Columns, text bool) ([]byte, error) {
	if len(record) < c.size {
		return dst, fmt.Errorf("decode %d bytes as %s: %w (%d bytes)", len(record), c.name, ErrShort, c.size)
	}
	r := run{
		out:     dst,
		limit:   int64(len(dst)) + 1<<20 + 256*int64(len(record)),
		text:    text,
		columns: columns,
	}
	if !r.do(c.ops, record) {
		return r.out[:len(dst)], fmt.Errorf("decode %d bytes as %s: %w", len(record), c.name, ErrTooLong)
	}
	return r.out, nil
}

// Columns holds the widths of the columns in a sequence of text records. The zero value is ready for the first
// record. Use a Columns for the records of one [Codec] only, and from one goroutine at a time.
type Columns struct{ widths []int }

// maxColumn bounds the width of a column, so that one long string does not widen all later rows.
const maxColumn = 32

// pad widens column i to the given width of a value, up to maxColumn, and appends spaces up to the column's
// width.
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

// nameOf returns the C name of a type, or a description if it has none.
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
