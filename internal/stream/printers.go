package stream

import (
	"slices"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/escape"
)

// printers print the records of the types of a ring.
type printers struct {
	types *decode.Set // may be nil
	list  []*printer
	last  *printer // of the previous record with a type; nil before it
}

// printer prints the records of one type.
type printer struct {
	*decode.Printer
	codec   *decode.Codec
	name    string // for text
	heading string // for JSON
}

func newPrinters(o *FormatOptions) *printers {
	ps := &printers{types: o.Types}
	if o.Types == nil {
		return ps
	}
	for _, c := range o.Types.Codecs() {
		name := escape.String(c.Name())
		if by := c.KnownBy(); by != "" {
			name += "(" + by + ")"
		}
		ps.list = append(ps.list, &printer{c.Printer(o.Print), c, name, string(appendHeading(nil, c))})
	}
	return ps
}

// of returns the printer for a record, or nil if the record has no type.
func (ps *printers) of(record []byte) *printer {
	if ps.types == nil {
		return nil
	}
	c, err := ps.types.Codec(record)
	if err != nil {
		return nil
	}
	if ps.last == nil || ps.last.codec != c {
		ps.last = ps.list[slices.IndexFunc(ps.list, func(p *printer) bool { return p.codec == c })]
	}
	return ps.last
}

// TimeOf returns a function that returns the time that text and JSON show of a record, in nanoseconds since 1970.
func TimeOf(o FormatOptions) func(*Record) int64 {
	ps := newPrinters(&o)
	return func(rec *Record) int64 { return ps.of(rec.Data).time(rec) }
}

// time returns the time of a record in nanoseconds since 1970, or 0 if it is unknown. p can be nil.
func (p *printer) time(rec *Record) int64 {
	if p != nil {
		if wall, ok := p.Time(rec.Data); ok {
			return wall
		}
	}
	return rec.Time
}

// appendJSON appends the data of a record to a JSON object: decoded, or in hex if p is nil or cannot decode it.
func (p *printer) appendJSON(dst, data []byte) []byte {
	if p != nil {
		if out, err := p.AppendJSON(append(dst, p.heading...), data); err == nil {
			return out
		}
	}
	return AppendHex(dst, data)
}
