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
	typ     btf.Type
	name    string
	options Options
	full    int              // bytes of the shortest record that AppendRecord makes
	view                     // of records that have all members of their unions
	tag     spot             // that says which members of unions a record has, if arms is not empty
	arms    map[uint64]*view // of other records, by that tag
	rest    *node            // bytes after a header; nil if the type is none
}

// New compiles t, which can be of any kind that has a size. It refuses types that it cannot show, and types
// that only broken or hostile BTF contains. The Codec keeps t: do not change t afterwards.
//
// A record shows only one member of a union if an enum in front of the union says which: if
// each member is named after one enumerator, as "exec" after EVENT_EXEC.
func New(t btf.Type) (*Codec, error) { return NewWith(t, Options{}) }

// Name returns the C name of the type, without "struct", or a description of a type without a name.
func (c *Codec) Name() string { return c.name }

// Type returns the type that was compiled. The caller must not change it.
func (c *Codec) Type() btf.Type { return c.typ }

// Size returns the length in bytes of the shortest record that has all fields of the type. Only with
// [Options.Prefix], or with other members of a union, can a shorter record be decoded.
func (c *Codec) Size() int { return c.size }

// AppendJSON appends the JSON of a record to dst, without a newline. An error matches [ErrShort] or
// [ErrTooLong]; AppendJSON then returns dst unchanged.
func (c *Codec) AppendJSON(dst, record []byte) ([]byte, error) {
	v := c.viewOf(record)
	return c.run(dst, record, v, &v.layout, run{rest: c.rest})
}

// AppendText appends a record as key=value pairs to dst, without a newline. Errors are those of AppendJSON. A
// [Printer] aligns records, and knows more of what their numbers mean.
func (c *Codec) AppendText(dst, record []byte) ([]byte, error) {
	v := c.viewOf(record)
	return c.run(dst, record, v, &v.text, run{text: true, printer: fullPrinter, rest: c.rest})
}

// run appends a record as the layout l of the view v has it.
func (c *Codec) run(dst, record []byte, v *view, l *layout, r run) ([]byte, error) {
	r.out, r.start, r.limit = dst, len(dst), limitOf(dst, record)
	fits := false
	switch {
	case len(record) >= v.size:
		fits = r.do(l.ops, record)
	case c.cuts(v, record):
		fits = r.cutRecord(l.root, record)
	default:
		return dst, c.short(v, record)
	}
	if !fits || !r.end(l.root, record) {
		return r.out[:len(dst)], c.tooLong(record)
	}
	return r.out, nil
}

// limitOf returns the greatest length of dst with the output for record.
func limitOf(dst, record []byte) int64 { return int64(len(dst)) + 1<<20 + 256*int64(len(record)) }

func (c *Codec) tooLong(record []byte) error {
	return fmt.Errorf("decode %d bytes as %s: %w", len(record), c.name, ErrTooLong)
}

// viewOf returns how record is decoded.
func (c *Codec) viewOf(record []byte) *view {
	if len(c.arms) > 0 {
		if tag, ok := c.tag.load(record); ok && c.arms[tag] != nil {
			return c.arms[tag]
		}
	}
	return &c.view
}

// cuts reports whether record can be decoded although it ends before some fields of v.
func (c *Codec) cuts(v *view, record []byte) bool { return c.options.Prefix && v.root.starts(record) }

func (c *Codec) short(v *view, record []byte) error {
	return fmt.Errorf("decode %d bytes as %s: %w (%d bytes)", len(record), c.name, ErrShort, v.size)
}

// kindOf returns what a type without a name is.
func kindOf(t btf.Type) string {
	switch t.(type) {
	case *btf.Struct:
		return "struct"
	case *btf.Union:
		return "union"
	case *btf.Array:
		return "array"
	case *btf.Enum:
		return "enum"
	case *btf.Pointer:
		return "pointer"
	}
	return "type"
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
	return "anonymous " + kindOf(t)
}
