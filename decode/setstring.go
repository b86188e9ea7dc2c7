package decode

import (
	"fmt"
	"strconv"
	"strings"
)

// String describes, for people, the types and how they are told apart.
func (s *Set) String() string {
	var texts []string
	for _, c := range s.cases {
		codec, name := (*Codec)(nil), "unknown"
		if c.Type != nil {
			codec, _ = s.codec(&c)
			name = codec.name
		}
		var where []string
		for _, t := range c.Tags {
			where = append(where, codec.describe(t))
		}
		if l := lengths(c.Min, c.Max); l != "" {
			where = append(where, l)
		}
		if where != nil {
			name += " where " + strings.Join(where, " and ")
		}
		texts = append(texts, name)
	}
	return strings.Join(texts, ", ")
}

// lengths describes a range of lengths, "" for all lengths.
func lengths(low, high int) string {
	switch {
	case low <= 0 && high <= 0:
		return ""
	case low == high:
		return fmt.Sprintf("there are %d bytes", low)
	case high <= 0:
		return fmt.Sprintf("there are at least %d bytes", low)
	case low <= 0:
		return fmt.Sprintf("there are at most %d bytes", high)
	}
	return fmt.Sprintf("there are %d to %d bytes", low, high)
}

// describe describes t, a tag of records of c, or of no known type if c is nil.
func (c *Codec) describe(t Tag) string {
	field, known := fmt.Sprintf("the number at byte %d", t.Off), (*enum)(nil)
	if c != nil {
		for i := range c.ops {
			if o := &c.ops[i]; o.field != nil && o.off == t.Off && o.scalar() && int(o.width) == t.Size*8 {
				field, known = strings.Join(o.field.path(), "."), o.enum
				break
			}
		}
	}
	var values []string
	for _, v := range t.Values {
		text := strconv.FormatUint(v, 10)
		if known != nil {
			if e, ok := known.names[known.key(v, uint8(t.Size*8))]; ok {
				text = e.text
			}
		}
		values = append(values, text)
	}
	return field + " is " + strings.Join(values, " or ")
}
