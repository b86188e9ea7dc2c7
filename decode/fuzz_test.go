package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// everything returns a struct that has a field for each kind of operation.
func everything() *btf.Struct {
	inner := structOf(12, member("i", s32, 0), bitfield("b", u16, 36, 9), member("s", arrayOf(char, 4), 6), bitfield("e", color, 80, 3))
	union := &btf.Union{Size: 16, Members: []btf.Member{member("u", u128, 0), member("s", s128, 0), member("d", &btf.Float{Size: 8}, 0), member("h", &btf.Float{Size: 16}, 0)}}
	return structOf(96,
		member("color", color, 0), member("flag", cbool, 4), member("minus", signed8, 5), member("comm", arrayOf(char, 10), 6),
		member("", union, 16), member("inner", arrayOf(inner, 3), 32), member("p", &btf.Pointer{Target: &btf.Void{}}, 72),
		member("big", enum64, 80), member("f", &btf.Float{Size: 4}, 88), member("rest", arrayOf(arrayOf(char, 3), 0), 92))
}

// check decodes record, and fails the test if the result breaks a guarantee of the package.
func check(t *testing.T, d *Codec, record []byte) {
	t.Helper()
	limit := 2*(1<<20+256*len(record)) + 16*maxNames
	if _, err := d.Select().Values(record); (err != nil) != (len(record) < d.Size()) && !errors.Is(err, ErrTooLong) {
		t.Errorf("Values: %v", err)
	}
	out, err := d.AppendJSON(nil, record)
	switch {
	case err == nil && (!json.Valid(out) || bytes.ContainsFunc(out, unprintable)):
		t.Errorf("not JSON of printable text: %q", out)
	case err != nil && !errors.Is(err, ErrShort) && !errors.Is(err, ErrTooLong):
		t.Errorf("AppendJSON: %v", err)
	case (len(record) < d.Size()) != errors.Is(err, ErrShort):
		t.Errorf("%d bytes, size %d: %v", len(record), d.Size(), err)
	case cap(out) > limit:
		t.Errorf("%d bytes of output for %d", cap(out), len(record))
	}
	out, err = d.Printer(PrintOptions{}).AppendText(nil, record)
	if err == nil && (!utf8.Valid(out) || bytes.ContainsFunc(out, unprintable)) {
		t.Errorf("raw bytes in text: %q", out)
	}
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// FuzzStrings decodes char arrays and encodes them again. The bytes are the same, so no two
// strings have the same JSON.
func FuzzStrings(f *testing.F) {
	const n = 16
	typ := structOf(2*n, member("fixed", arrayOf(char, n), 0), member("rest", arrayOf(char, 0), n))
	d, err := New(typ)
	if err != nil {
		f.Fatal(err)
	}
	e, err := New(typ)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "plain", "\xff", "\ufffd", "\xed\xb3\xbf", "\\udcff", "é\xe2\x82", "[255]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		s, _, _ = bytes.Cut(s, []byte{0})
		record := append(make([]byte, n), s...)
		copy(record[:n], s)
		out, err := d.AppendJSON(nil, record)
		if err != nil {
			t.Fatal(err)
		}
		back, err := e.AppendRecord(nil, out, 1<<20)
		if err != nil || !bytes.Equal(back, record) {
			t.Errorf("%q: read back %q, %v", record, back, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	d, err := New(everything())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(make([]byte, 92))
	f.Add(bytes.Repeat([]byte{0xff, '"', '\\', 1, 0xc3, 0xa9, 0x7f}, 16))
	f.Fuzz(func(t *testing.T, record []byte) { check(t, d, record) })
}

// FuzzBTF decodes a record with the types of arbitrary BTF.
func FuzzBTF(f *testing.F) {
	for _, t := range []btf.Type{everything(), arrayOf(everything(), 2), color} {
		b, err := btf.NewBuilder([]btf.Type{t}, nil)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := b.Marshal(nil, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, make([]byte, 100))
	}
	f.Fuzz(func(t *testing.T, raw, record []byte) {
		spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var types []btf.Type
		for typ, err := range spec.All() {
			if err != nil {
				break
			}
			types = append(types, typ)
			if d, err := New(typ); err == nil {
				check(t, d, record)
			}
			Find(spec, typ.TypeName())
		}
		Find(spec, "exec_event")
		if set, err := NewSet(types[:min(len(types), 8)]...); err == nil {
			set.Codec(record)
		}
	})
}

// FuzzTypes decodes a record with a type made from arbitrary bytes. The type can have any
// fault that a BTF parser might not detect.
func FuzzTypes(f *testing.F) {
	f.Add([]byte{3, 2, 4, 0, 0, 0, 5, 2, 8, 0, 1, 0}, make([]byte, 64))
	f.Add([]byte{4, 2, 4, 0, 0, 0, 4, 2, 8, 0, 1, 0, 2, 255, 255, 255}, make([]byte, 64))
	f.Fuzz(func(t *testing.T, recipe, record []byte) {
		g := generator{bytes: recipe}
		typ := g.typ()
		d, err := New(typ)
		if err != nil {
			return
		}
		check(t, d, record)
		if text, err := d.AppendJSON(nil, record); err == nil {
			// Ignore errors: unlike in C, two fields can have the same name.
			const limit = 1 << 16
			if out, _ := d.AppendRecord(nil, text, limit); len(out) > limit {
				t.Errorf("a record of %d bytes", len(out))
			}
		}
	})
}

// generator makes types from bytes.
type generator struct {
	bytes []byte
	made  []btf.Type
}

func (g *generator) next() uint32 {
	if len(g.bytes) == 0 {
		return 0
	}
	b := g.bytes[0]
	g.bytes = g.bytes[1:]
	return uint32(b)
}

func (g *generator) typ() btf.Type {
	switch n := g.next() % 12; n {
	case 0:
		return &btf.Int{Name: "char", Size: g.next(), Encoding: btf.IntEncoding(g.next() % 5)}
	case 1:
		return &btf.Float{Size: g.next()}
	case 2:
		return arrayOf(g.typ(), g.next()<<(g.next()%32))
	case 3:
		return &btf.Enum{Size: g.next(), Signed: g.next()%2 == 0, Values: []btf.EnumValue{{Name: "A", Value: uint64(g.next())}}}
	case 4, 5, 6:
		s := &btf.Struct{Size: g.next() << (g.next() % 32)}
		g.made = append(g.made, s)
		s.Members = g.members()
		return s
	case 7:
		u := &btf.Union{Size: g.next()}
		g.made = append(g.made, u)
		u.Members = g.members()
		return u
	case 8:
		return &btf.Pointer{}
	case 9:
		return &btf.Typedef{Name: "t", Type: g.typ()}
	case 10:
		if len(g.made) > 0 { // possibly a type that is still being made: a recursive type
			return g.made[int(g.next())%len(g.made)]
		}
	}
	return &btf.Void{}
}

func (g *generator) members() []btf.Member {
	var members []btf.Member
	for range g.next() % 8 {
		m := btf.Member{Name: string([]byte{'a', byte(g.next())}), Offset: btf.Bits(g.next() << (g.next() % 32))}
		if g.next()%4 == 0 {
			m.BitfieldSize = btf.Bits(g.next())
		}
		if g.next()%4 == 0 {
			m.Name = ""
		}
		m.Type = g.typ()
		members = append(members, m)
	}
	return members
}
