package stream

import (
	"strconv"
	"time"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/clock"
	"github.com/rbtool/rbtool/internal/escape"
)

// textWriter shows records as text: as rows of a table, or each as a line of key=value pairs behind its time and the name
// of its type.
type textWriter struct {
	*printers
	rings   *ringNames // nil if there is one ring
	face    *clock.Face
	full    bool
	hint    string
	width   int             // of the longest name of a type
	columns []decode.Column // of the table; nil if there is none
	headed  bool            // the header of the table was written
	bare    bool            // it is left out
}

// The columns in front of the fields of a record.
const (
	timeColumn = "time"
	typeColumn = "type"
	timeWidth  = len("15:04:05.123456")
)

func textFormat(o *FormatOptions) Format {
	zone := o.Print.Host.Zone
	if zone == nil {
		zone = time.UTC
	}
	t := &textWriter{printers: newPrinters(o), rings: o.rings, face: clock.NewTimeOfDay(zone), full: o.Print.Full, bare: o.NoHeader}
	if o.Hint != "" {
		t.hint = " (" + o.Hint + ")"
	}
	for _, p := range t.list {
		t.width = max(t.width, len(p.name))
	}
	if len(t.list) == 1 || len(o.Print.Fields) > 0 {
		t.setColumns(o)
	}
	if o.Extras == nil {
		return t.append
	}
	return func(dst []byte, rec *Record) []byte { return o.Extras.AppendText(t.append(dst, rec), rec.Data) }
}

// setColumns sets the columns of the table if it fits into the width of the terminal.
func (t *textWriter) setColumns(o *FormatOptions) {
	total := timeWidth
	if t.rings != nil {
		total += t.rings.width + separation
	}
	if len(t.list) > 1 {
		total += separation + t.width
	}
	fields := o.Print.Fields
	if len(fields) == 0 {
		fields = []string{""}
	}
	var columns []decode.Column
	for _, field := range fields {
		for _, p := range t.list {
			columns = p.AddColumns(columns, field)
		}
	}
	for _, c := range columns {
		total += separation + c.Width
	}
	if total <= o.Width {
		t.columns = columns
		t.width = max(t.width, len(typeColumn))
	}
}

// separation is the number of spaces between two columns of the table.
const separation = 2

func (t *textWriter) append(dst []byte, rec *Record) []byte {
	p := t.of(rec.Data)
	if p != nil {
		if out, ok := t.appendTyped(dst, rec, p); ok {
			return out
		}
	}
	dst = t.appendTime(t.rings.appendText(dst, rec), p.time(rec))
	dst = append(dst, "pos="...)
	dst = strconv.AppendUint(dst, rec.Pos, 10)
	dst = append(dst, " len="...)
	dst = strconv.AppendInt(dst, int64(len(rec.Data)), 10)
	return t.appendDump(dst, rec.Data)
}

// appendTime appends a time and a space; nothing if wall is 0.
func (t *textWriter) appendTime(dst []byte, wall int64) []byte {
	if wall == 0 {
		return dst
	}
	return append(t.face.Append(dst, wall, 6), ' ')
}

// appendTyped appends a record that p prints. It returns false if p cannot decode it.
func (t *textWriter) appendTyped(dst []byte, rec *Record, p *printer) ([]byte, bool) {
	if t.columns != nil {
		return t.appendRow(dst, rec, p)
	}
	dst = t.appendTime(t.rings.appendText(dst, rec), p.time(rec))
	dst = appendPadded(dst, p.name, t.width+1)
	out, err := p.AppendText(dst, rec.Data)
	return append(out, '\n'), err == nil
}

// appendRow appends a row of the table, and before the first one the header.
func (t *textWriter) appendRow(dst []byte, rec *Record, p *printer) ([]byte, bool) {
	if !t.headed && !t.bare {
		dst = t.appendHeader(dst)
	}
	dst = t.rings.appendText(dst, rec)
	end := len(dst) + timeWidth + 1
	dst = t.appendTime(dst, p.time(rec))
	for len(dst) < end {
		dst = append(dst, ' ')
	}
	dst = append(dst, ' ')
	if len(t.list) > 1 {
		dst = appendPadded(dst, p.name, t.width+separation)
	}
	out, err := p.AppendRow(dst, rec.Data, t.columns)
	t.headed = t.headed || err == nil
	return append(out, '\n'), err == nil
}

func (t *textWriter) appendHeader(dst []byte) []byte {
	if t.rings != nil {
		dst = appendPadded(dst, ringColumn, t.rings.width+separation)
	}
	dst = appendPadded(dst, timeColumn, timeWidth+separation)
	if len(t.list) > 1 {
		dst = appendPadded(dst, typeColumn, t.width+separation)
	}
	for i, c := range t.columns {
		width := c.Width + separation
		if i == len(t.columns)-1 {
			width = 0
		}
		dst = appendPadded(dst, escape.String(c.Name), width)
	}
	return append(dst, '\n')
}

func appendPadded(dst []byte, s string, width int) []byte {
	dst = append(dst, s...)
	for range width - len(s) {
		dst = append(dst, ' ')
	}
	return dst
}
