package decode

import "strings"

// Column is a column of a table of records.
type Column struct {
	Name  string // the path of a field, such as src.port
	Width int    // in bytes
}

// AddColumns adds to columns those that show the field of, or all fields if that is "", and returns the result. It
// adds no column twice. The widths are those of usual values.
func (p *Printer) AddColumns(columns []Column, of string) []Column {
	have := make(map[string]bool)
	for _, c := range columns {
		have[c.Name] = true
	}
	for _, f := range p.all.rows().fields {
		if wanted := of == "" || f.name == of || strings.HasPrefix(f.name, of+"."); wanted && !have[f.name] {
			columns = append(columns, Column{f.name, max(len(f.name), f.usualWidth())})
			have[f.name] = true
		}
	}
	if p.rest != nil && (of == "" || of == p.rest.name) && !have[p.rest.name] {
		columns = append(columns, Column{p.rest.name, maxColumn})
	}
	return columns
}

// rows returns the tree for rows of a table. Its only object is the root.
func (s *printed) rows() *node {
	if s.table == nil {
		s.table = s.text.root.leaves()
		if !s.table.object {
			s.table.name = "value"
			s.table = &node{object: true, fields: []*node{s.table}, byName: map[string]*node{"value": s.table}}
		}
	}
	return s.table
}

// AppendRow appends a record as a row of a table: its value for each column, or - if it has none. It widens
// columns as values need it. Errors are those of [Codec.AppendJSON].
func (p *Printer) AppendRow(dst, record []byte, columns []Column) ([]byte, error) {
	v, shown := p.of(record)
	if len(record) < v.size && !p.c.cuts(v, record) {
		return dst, p.c.short(v, record)
	}
	r := run{out: dst, limit: limitOf(dst, record), text: true, printer: p}
	for i := range columns {
		c := &columns[i]
		start := len(r.out)
		f := shown.rows().byName[c.Name]
		if p.rest != nil && c.Name == p.rest.name {
			f = p.rest
		}
		if f == nil || !f.starts(record) {
			r.out = append(r.out, '-')
		} else if !r.value(&f.op, record) || int64(len(r.out)) > r.limit {
			return r.out[:len(dst)], p.c.tooLong(record)
		}
		if i == len(columns)-1 {
			break
		}
		width := len(r.out) - start
		for c.Width = max(c.Width, min(width, maxColumn)); width < c.Width; width++ {
			r.out = append(r.out, ' ')
		}
		r.out = append(r.out, "  "...)
	}
	return r.out, nil
}

// usualWidth returns the width of usual values of a scalar or array.
func (n *node) usualWidth() int {
	if width, ok := usualWidths[n.meaning]; ok {
		return width
	}
	switch n.kind {
	case kindEnum:
		width := 0
		for _, e := range n.enum.names {
			width = max(width, len(e.text))
		}
		return min(width, maxColumn)
	case kindString:
		return min(n.array.n, 16)
	case kindArray:
		return min(2+4*min(n.array.n, maxColumn), maxColumn)
	case kindBool:
		return len("false")
	}
	return usualDigits[min(int(n.size), len(usualDigits)-1)]
}

// usualDigits are the digits of usual integers, by their size in bytes.
var usualDigits = [...]int{1: 3, 2: 5, 3: 5, 4: 7, 5: 7, 6: 7, 7: 7, 8: 10, 9: 18}

var usualWidths = map[Meaning]int{
	Ktime: 18, Boottime: 18, TAI: 18, WallTime: 18, Timestamp: 18, Nanoseconds: 9, Microseconds: 9, Milliseconds: 9,
	IPv4: 15, IPv4Host: 15, IPv6: 20, IPAddress: 20, Port: 5, MAC: 17, Errno: 10, ErrorNo: 10, Returned: 10, SocketAddress: 21, Signal: 10, UserID: 10, GroupID: 10,
	Address: 18, Chars: 16, Bytes: maxColumn,
}
