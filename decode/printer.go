package decode

import (
	"slices"
	"time"

	"github.com/rbtool/rbtool/internal/clock"
)

// PrintOptions says what a [Printer] shows. The zero value shows all fields.
type PrintOptions struct {
	// Fields are the fields to show, in this order, such as "pid" and "src.port". A struct stands for its
	// members. Fields that the type does not have are ignored. If it is empty, all are shown.
	Fields []string
	// Host tells text what numbers mean.
	Host Host
	// Full shows long strings and arrays whole; otherwise text shortens them.
	Full bool
	// Int64Strings puts integers of 64 bits in quotes in JSON.
	Int64Strings bool
}

// Printer shows the records of one type as text or JSON. Use a Printer from one goroutine at a time.
type Printer struct {
	c      *Codec
	all    printed            // for records that have all members of their unions
	arms   map[*view]*printed // for others
	rest   *node              // as in Codec; nil if it is not shown
	full   bool
	host   Host
	clock  *clock.Face
	widths []int // of the columns of key=value pairs
}

// printed is what a Printer shows of the records of a view.
type printed struct {
	json, text layout
	table      *node // see rows; nil before the first
}

// fullPrinter is the Printer of [Codec.AppendText]. It knows no host, and so never changes.
var fullPrinter = &Printer{full: true}

// Printer returns a Printer for the type's records.
func (c *Codec) Printer(o PrintOptions) *Printer {
	zone := o.Host.Zone
	if zone == nil {
		zone = time.UTC
	}
	p := &Printer{c: c, full: o.Full, host: o.Host, clock: clock.NewTimeOfDay(zone), arms: make(map[*view]*printed, len(c.arms))}
	p.all = c.view.printed(&o)
	for _, v := range c.arms {
		if p.arms[v] == nil {
			shown := v.printed(&o)
			p.arms[v] = &shown
		}
	}
	if c.rest != nil && (len(o.Fields) == 0 || slices.Contains(o.Fields, c.rest.name)) {
		p.rest = c.rest
	}
	return p
}

// printed returns what is shown of the records of v.
func (v *view) printed(o *PrintOptions) printed {
	shown := printed{json: v.layout, text: v.text}
	if len(o.Fields) > 0 {
		root := pick(v.root, o.Fields)
		shown = printed{json: newLayout(root), text: newLayout(root.clone(true).leaves())}
	}
	if o.Int64Strings {
		shown.json = newLayout(shown.json.root.quoted())
	}
	return shown
}

// quoted returns a copy of the tree of n with 64-bit integers in quotes.
func (n *node) quoted() *node {
	m := n.clone(false)
	m.quote()
	return m
}

func (n *node) quote() {
	switch {
	case n.width == 64 && n.kind == kindUint:
		n.kind = kindUintString
	case n.width == 64 && n.kind == kindInt:
		n.kind = kindIntString
	case n.elem != nil:
		a := *n.array
		n.elem = n.elem.quoted()
		a.elem, n.array = flatten(n.elem, true), &a
	}
	for _, f := range n.fields {
		f.quote()
	}
}

// of returns the view of a record, and what is shown of it.
func (p *Printer) of(record []byte) (*view, *printed) {
	v := p.c.viewOf(record)
	if v == &p.c.view {
		return v, &p.all
	}
	return v, p.arms[v]
}

// AppendJSON appends the JSON of a record to dst, as [Codec.AppendJSON] does.
func (p *Printer) AppendJSON(dst, record []byte) ([]byte, error) {
	v, shown := p.of(record)
	return p.c.run(dst, record, v, &shown.json, run{rest: p.rest})
}

// AppendText appends a record as key=value pairs to dst, without a newline. It pads values, so that those of
// successive records align. Errors are those of [Codec.AppendJSON].
func (p *Printer) AppendText(dst, record []byte) ([]byte, error) {
	v, shown := p.of(record)
	return p.c.run(dst, record, v, &shown.text, run{text: true, printer: p, align: true, column: v.column, rest: p.rest})
}

// Time returns the time that a record has of itself, in nanoseconds since 1970: that of its first field that
// [Options.Meanings] say is a time. It returns false if the type has no such field, or the host does not know the time.
func (p *Printer) Time(record []byte) (wall int64, ok bool) {
	v := p.c.viewOf(record)
	if v.when == nil || p.host.Time == nil || len(record) < v.when.least {
		return 0, false
	}
	t := v.when.load(record)
	if t == 0 {
		return 0, false
	}
	return p.host.Time(v.when.meaning, t)
}

// maxColumn bounds the width of a column, so that one long string does not widen all later rows.
const maxColumn = 32

// pad widens column i to the given width of a value, up to maxColumn, and appends spaces up to the column's
// width.
func (p *Printer) pad(dst []byte, i, width int) []byte {
	for i >= len(p.widths) {
		p.widths = append(p.widths, 0)
	}
	p.widths[i] = max(p.widths[i], min(width, maxColumn))
	for ; width < p.widths[i]; width++ {
		dst = append(dst, ' ')
	}
	return dst
}
