package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// FuzzPrinter prints some fields of a record whose type, options and meanings are made from arbitrary bytes.
func FuzzPrinter(f *testing.F) {
	f.Add([]byte{0, 1, 0, 9, 3, 8, 18, 4, 8, 0, 2, 1, 0, 1, 1, 0, 4, 1}, bytes.Repeat([]byte{0xff, 1}, 20))
	f.Add([]byte{0, 0, 2, 1, 10, 16, 12, 4, 16, 0, 1, 0, 0, 0, 1, 1, 2, 0, 1, 2}, bytes.Repeat([]byte("a\xff\x00"), 9))
	f.Fuzz(func(t *testing.T, recipe, record []byte) {
		g := generator{bytes: recipe}
		o := g.options()
		o.Meanings = make(map[int]Meaning)
		for range g.next() % 8 {
			o.Meanings[int(g.next())] = Meaning(g.next() % uint32(Bytes+2))
		}
		typ := g.typ()
		for _, made := range g.made {
			if s, ok := made.(*btf.Struct); ok {
				s.Name = []string{"", "in_addr", "in6_addr"}[g.next()%3]
			}
		}
		d, err := NewWith(typ, o)
		if err != nil {
			return
		}
		print := PrintOptions{Host: testHost, Full: g.next()%2 == 0, Int64Strings: g.next()%2 == 0}
		checkPrinter(t, d.Printer(print), record)
		for _, field := range d.Fields() {
			if g.next()%2 == 0 {
				print.Fields = append(print.Fields, strings.Join(field.Path, "."))
			}
		}
		print.Fields = append(print.Fields, "rest")
		checkPrinter(t, d.Printer(print), record)
	})
}

// checkPrinter prints a record in all ways, and fails the test if the output breaks a guarantee of the package.
func checkPrinter(t *testing.T, p *Printer, record []byte) {
	t.Helper()
	out, err := p.AppendJSON(nil, record)
	if err == nil && (!json.Valid(out) || bytes.ContainsFunc(out, unprintable)) {
		t.Errorf("not JSON of printable text: %q", out)
	}
	text, textErr := p.AppendText(nil, record)
	row, rowErr := p.AppendRow(nil, record, p.AddColumns(nil, ""))
	for _, line := range [][]byte{text, row} {
		if !utf8.Valid(line) || bytes.ContainsFunc(line, unprintable) {
			t.Errorf("raw bytes in text: %q", line)
		}
	}
	if short := errors.Is(err, ErrShort); errors.Is(textErr, ErrShort) != short || errors.Is(rowErr, ErrShort) != short {
		t.Errorf("as JSON %v, as text %v, as a row %v", err, textErr, rowErr)
	}
	p.Time(record)
}
