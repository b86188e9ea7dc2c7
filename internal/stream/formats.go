package stream

import (
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/escape"
)

// Shown is what a format shows of the records of one of several rings.
type Shown struct {
	Name   string // of the ring: distinguishes it from the other rings
	ID     ebpf.MapID
	Types  *decode.Set // may be nil
	Extras Extras      // may be nil
}

// Formats shows the records of one ring or several. Of several rings, text has the name of a record's ring in a column, JSON
// in the members "ring" and "ring_id"; other formats do not have it. Rings with one Set of types share what they show: the
// columns of a table, and the memory.
type Formats struct {
	name    string
	options FormatOptions
	several bool
	rings   ringNames
	shown   []Shown
	formats []Format // by Record.Ring; nil until the ring's first record
	shared  []sharedFormat
}

// sharedFormat is the format for all rings with these types and extras.
type sharedFormat struct {
	types  *decode.Set
	extras Extras
	format Format
}

// ringNames has the names of rings by Record.Ring, as formats show them.
type ringNames struct {
	text, json []string
	width      int // of the longest text
}

const (
	ringColumn  = "ring" // the title of the column of ring names
	longestRing = 40     // characters of a name
)

// NewFormats returns the Formats of the format with the given name. It ignores Types and Extras of o. If several is not
// set, there is one ring, whose name is not shown.
func NewFormats(name string, o FormatOptions, several bool) *Formats {
	o.begun = new(bool)
	return &Formats{name: name, options: o, several: several, rings: ringNames{width: len(ringColumn)}}
}

// Set says what Append shows of the records of a ring. It replaces an earlier ring of this index.
func (f *Formats) Set(ring int, s Shown) {
	for ring >= len(f.formats) {
		f.shown, f.formats = append(f.shown, Shown{}), append(f.formats, nil)
		f.rings.text, f.rings.json = append(f.rings.text, ""), append(f.rings.json, "")
	}
	f.shown[ring], f.formats[ring] = s, nil
	f.rings.set(ring, s)
	f.shared = slices.DeleteFunc(f.shared, func(old sharedFormat) bool {
		return !slices.ContainsFunc(f.shown, func(s Shown) bool { return s.Types == old.types && s.Extras == old.extras })
	})
}

func (r *ringNames) set(ring int, s Shown) {
	text := []rune(escape.String(s.Name))
	if n := len(text) - longestRing; n > 0 {
		text = append([]rune{'…'}, text[n+1:]...) // names of files differ at the end
	}
	r.text[ring] = string(text)
	r.width = max(r.width, len(text))
	json := escape.AppendJSONString([]byte(`,"ring":`), []byte(s.Name))
	r.json[ring] = string(strconv.AppendUint(append(json, `,"ring_id":`...), uint64(s.ID), 10))
}

// appendText appends the name of a record's ring, padded to the width of the column. r may be nil: there is one ring.
func (r *ringNames) appendText(dst []byte, rec *Record) []byte {
	if r == nil {
		return dst
	}
	text := r.text[rec.Ring]
	return appendPadded(dst, text, r.width+separation+len(text)-utf8.RuneCountInString(text))
}

// appendJSON appends the members of a record's ring. r may be nil.
func (r *ringNames) appendJSON(dst []byte, rec *Record) []byte {
	if r == nil {
		return dst
	}
	return append(dst, r.json[rec.Ring]...)
}

// Append is a [Format]. [Formats.Set] must have been called for the record's ring.
func (f *Formats) Append(dst []byte, rec *Record) []byte {
	format := f.formats[rec.Ring]
	if format == nil {
		format = f.of(&f.shown[rec.Ring])
		f.formats[rec.Ring] = format
	}
	return format(dst, rec)
}

// of returns the format for a ring. A table has only rows of one Set: rows of others would be below wrong headers.
func (f *Formats) of(s *Shown) Format {
	for _, known := range f.shared {
		if known.types == s.Types && known.extras == s.Extras {
			return known.format
		}
	}
	if f.name == CSV && len(f.options.Print.Fields) > 0 && !*f.options.begun {
		f.options.Print.Fields = chosenColumns(f.options.Print.Fields, f.shown)
	}
	o := f.options
	o.Types, o.Extras = s.Types, s.Extras
	if f.several {
		o.rings = &f.rings
	}
	for _, other := range f.shown {
		if other.Types != s.Types {
			o.Width = 0
		}
	}
	format := NewFormat(f.name, o)
	f.shared = append(f.shared, sharedFormat{s.Types, s.Extras, format})
	return format
}
