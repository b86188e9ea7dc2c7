package decode

import (
	"encoding/json"
	"errors"
	"testing"
)

// options makes options from bytes.
func (g *generator) options() Options {
	o := Options{Prefix: g.next()%2 == 0, Header: g.next()%2 == 0}
	for range g.next() % 4 {
		o.Arms = append(o.Arms, Arm{Tag: g.tag(), Union: int(g.next()), Member: int(g.next()) - 1})
	}
	return o
}

func (g *generator) tag() Tag {
	t := Tag{Off: int(g.next()%8) - 1, Size: 1 << (g.next() % 5)}
	for range g.next() % 4 {
		t.Values = append(t.Values, uint64(g.next()%4))
	}
	return t
}

// FuzzOptions decodes a record with a type and options made from arbitrary bytes.
func FuzzOptions(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 1, 1, 4, 1, 0, 4, 3, 8, 0, 0, 0, 1, 0, 0, 4}, []byte("\x01\x00\x00\x00abc"))
	f.Add([]byte{1, 1, 0, 7, 8, 2, 0, 0, 0, 4}, []byte("\x01\x00\x00\x00abc"))
	f.Fuzz(func(t *testing.T, recipe, record []byte) {
		g := generator{bytes: recipe}
		o := g.options()
		d, err := NewWith(g.typ(), o)
		if err != nil {
			return
		}
		out, err := d.AppendJSON(nil, record)
		switch {
		case err == nil && !json.Valid(out):
			t.Errorf("not JSON: %q", out)
		case err != nil && !errors.Is(err, ErrShort) && !errors.Is(err, ErrTooLong):
			t.Errorf("AppendJSON: %v", err)
		case errors.Is(err, ErrShort) && len(record) >= d.Size():
			t.Errorf("%d bytes, size %d: %v", len(record), d.Size(), err)
		}
		if _, textErr := d.AppendText(nil, record); errors.Is(textErr, ErrShort) != errors.Is(err, ErrShort) {
			t.Errorf("as text %v, as JSON %v", textErr, err)
		}
		if _, valueErr := d.Select().Values(record); errors.Is(valueErr, ErrShort) != errors.Is(err, ErrShort) {
			t.Errorf("as values %v, as JSON %v", valueErr, err)
		}
		if err == nil {
			// Ignore errors: unlike in C, two fields can have the same name.
			const limit = 1 << 16
			if back, _ := d.AppendRecord(nil, out, limit); len(back) > limit {
				t.Errorf("a record of %d bytes", len(back))
			}
		}
	})
}

// holds reports whether a record fulfils the conditions of a case. It does what [Case] says.
func holds(c *Case, record []byte) bool {
	if len(record) < c.Min || c.Max > 0 && len(record) > c.Max {
		return false
	}
	for _, t := range c.Tags {
		if len(record) < t.Off+t.Size {
			return false
		}
		var v uint64
		for i := t.Off + t.Size - 1; i >= t.Off; i-- {
			v = v<<8 | uint64(record[i])
		}
		found := false
		for _, want := range t.Values {
			found = found || want == v
		}
		if !found {
			return false
		}
	}
	return true
}

// FuzzCases compares the type that a Set finds for a record with the cases that the record fits.
func FuzzCases(f *testing.F) {
	f.Add([]byte{2, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 2, 0, 0}, []byte("\x01\x00"))
	f.Add([]byte{3, 0, 0, 2, 2, 1, 0, 0, 8, 2, 1, 1, 0, 1, 1, 0, 0}, []byte("\x01\x00\x02"))
	names := []string{"a", "b", "c"}
	f.Fuzz(func(t *testing.T, recipe, record []byte) {
		g := generator{bytes: recipe}
		types := map[string]*Case{}
		var cases []Case
		for range g.next() % 8 {
			c := Case{Min: int(g.next()%8) - 1, Max: int(g.next()%8) - 1}
			for range g.next() % 3 {
				c.Tags = append(c.Tags, g.tag())
			}
			if n := g.next() % 4; n < 3 {
				if types[names[n]] == nil {
					types[names[n]] = &Case{Type: plain(names[n], 1)}
				}
				c.Type = types[names[n]].Type
			}
			cases = append(cases, c)
		}
		set, err := NewCases(cases)
		if err != nil {
			return
		}
		fit := map[string]bool{}
		for i := range cases {
			if c := &cases[i]; holds(c, record) && c.Type != nil {
				fit[c.Type.TypeName()] = true
			} else if c.Type == nil && holds(c, record) {
				fit[""] = true
			}
		}
		d, err := set.Codec(record)
		switch {
		case err == nil && !fit[d.Name()] && set.only == nil:
			t.Errorf("record %q is no %s, of %s", record, d.Name(), set)
		case err != nil && len(fit) == 1 && !fit[""]:
			t.Errorf("record %q: %v, fits %v of %s", record, err, fit, set)
		case err != nil && !errors.Is(err, ErrNoMatch):
			t.Error(err)
		}
		body, err := set.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := UnmarshalSet(body); err != nil || back.String() != set.String() {
			t.Errorf("%s, read back %v, %v", set, back, err)
		}
	})
}
