package decode

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ErrMismatch reports JSON that does not fit a type: a field that the type does not have or that is given
// twice, a value of another kind or out of range, or more than one value. The error's text says which.
var ErrMismatch = errors.New("does not fit the type")

// AppendRecord appends the record for one JSON value, text, to dst. The record has at most limit bytes. It
// is the reverse of AppendJSON: it accepts all output of AppendJSON, and also
//
//   - fields in any order; a missing field is zero. Where members of a union overlap, the
//     last member given counts.
//   - arrays of fewer elements and strings of fewer bytes than the type has; the
//     rest is zero. A flexible array gets as many elements as are given. No NUL is added to a
//     string that fills its array, nor to a string in a flexible array.
//   - an array of bytes in place of any string, as AppendJSON writes strings that are not UTF-8.
//   - a number in place of an enumerator's name; a string in place of an integer, in
//     decimal or, after 0x, in hex, for JSON libraries that round numbers.
//
// After an error it returns dst unchanged. The error matches [ErrMismatch], [ErrTooLong] if the record exceeds
// limit, [io.ErrUnexpectedEOF] if the text is truncated, or is one of encoding/json for other text that is not
// JSON.
func (c *Codec) AppendRecord(dst, text []byte, limit int) ([]byte, error) {
	p := parser{dec: json.NewDecoder(bytes.NewReader(text)), start: len(dst), limit: limit}
	p.dec.UseNumber()
	p.record = dst
	err := p.grow(c.full)
	if err == nil {
		err = p.value(c.root, 0)
	}
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return p.record[:len(dst)], fmt.Errorf("encode %s: %w", c.name, err)
	}
	return p.record, nil
}

// parser is the encoding of one record.
type parser struct {
	dec    *json.Decoder
	record []byte
	start  int // index of the record's first byte
	limit  int // maximum length of the record
}

// grow makes the record n bytes long if it is shorter.
func (p *parser) grow(n int) error {
	if n > p.limit {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLong, p.limit)
	}
	if missing := n - (len(p.record) - p.start); missing > 0 {
		p.record = append(p.record, make([]byte, missing)...)
	}
	return nil
}

// token returns the next token.
func (p *parser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

// end returns an error unless the text ends here.
func (p *parser) end() error {
	switch _, err := p.dec.Token(); {
	case err == nil:
		return fmt.Errorf("%w: the text has more than one value", ErrMismatch)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// value stores the next value of the text as n. base is the offset of the record or element that contains n.
func (p *parser) value(n *node, base int) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if n.object {
		return p.object(n, t, base)
	}
	base += n.off
	switch n.kind {
	case kindArray:
		return p.array(n, t, base)
	case kindString:
		return p.string(n, t, base)
	case kindRest:
		return p.rest(t, base)
	}
	bits, err := n.parse(t)
	if err == nil {
		err = p.grow(base + int(n.size))
	}
	if err != nil {
		return err
	}
	n.store(p.record[p.start+base:], bits)
	return nil
}

func (p *parser) object(n *node, t json.Token, base int) error {
	if t != json.Delim('{') {
		return wrongKind(t, "an object")
	}
	seen := make(map[string]bool, len(n.byName))
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		name := t.(string) // json.Decoder accepts only a string here
		f := n.byName[name]
		switch {
		case f == nil:
			return fmt.Errorf("%w: it has no field %q", ErrMismatch, name)
		case seen[name]:
			return fmt.Errorf("%w: field %q is given twice", ErrMismatch, name)
		}
		seen[name] = true
		if err := p.value(f, base); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
	}
	_, err := p.token()
	return err
}

func (p *parser) array(n *node, t json.Token, base int) error {
	if t != json.Delim('[') {
		return wrongKind(t, "an array")
	}
	for i := 0; p.dec.More(); i++ {
		if n.most >= 0 && i >= n.most {
			return fmt.Errorf("%w: more than %d elements", ErrMismatch, n.most)
		}
		at := base + i*n.array.stride
		err := p.grow(at + n.array.stride)
		if err == nil {
			err = p.value(n.elem, at)
		}
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	_, err := p.token()
	return err
}

// rest stores the bytes after a header from their hex digits.
func (p *parser) rest(t json.Token, base int) error {
	s, ok := t.(string)
	if !ok {
		return wrongKind(t, "a string of hex digits")
	}
	if err := p.grow(base + len(s)/2); err != nil {
		return err
	}
	if _, err := hex.Decode(p.record[p.start+base:], []byte(s)); err != nil {
		return fmt.Errorf("%w: %q are not bytes in hex", ErrMismatch, short(s))
	}
	return nil
}

// string stores a char array from a string or an array of bytes.
func (p *parser) string(n *node, t json.Token, base int) error {
	s, ok := t.(string)
	if t == json.Delim('[') {
		bytes, err := p.bytes(n.most)
		if err != nil {
			return err
		}
		s, ok = string(bytes), true
	}
	if !ok {
		return wrongKind(t, "a string")
	}
	if n.most >= 0 && len(s) > n.most {
		return fmt.Errorf("%w: a string of %d bytes, the array has %d", ErrMismatch, len(s), n.most)
	}
	size := max(len(s), n.most)
	if err := p.grow(base + size); err != nil {
		return err
	}
	field := p.record[p.start+base:][:size]
	clear(field[copy(field, s):])
	return nil
}

// bytes parses the rest of a JSON array of at most n bytes, after its "[". A negative n means p.limit.
func (p *parser) bytes(n int) ([]byte, error) {
	if n < 0 {
		n = p.limit
	}
	var bytes []byte
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, wrongKind(t, "a byte")
		}
		b, err := strconv.ParseUint(number.String(), 10, 8)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w: %s is not a byte (0 to 255)", len(bytes), ErrMismatch, short(number.String()))
		}
		if len(bytes) == n {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrMismatch, n)
		}
		bytes = append(bytes, byte(b))
	}
	_, err := p.token()
	return bytes, err
}

// wrongKind returns the error for t in place of a value of kind want.
func wrongKind(t json.Token, want string) error {
	got := "null"
	switch t := t.(type) {
	case json.Delim:
		got = map[json.Delim]string{'{': "an object", '[': "an array"}[t]
	case json.Number:
		got = "the number " + short(t.String())
	case bool:
		got = fmt.Sprint(t)
	case string:
		got = fmt.Sprintf("the string %q", short(t))
	}
	return fmt.Errorf("%w: %s, wanted %s", ErrMismatch, got, want)
}

// short returns s, truncated for an error message.
func short(s string) string {
	if len(s) > 32 {
		return s[:32] + "..."
	}
	return s
}
