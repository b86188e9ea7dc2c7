package stream

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/escape"
)

// Format appends the output for rec to dst.
type Format func(dst []byte, rec *Record) []byte

// Extras adds something to the text and JSON output of a record.
type Extras interface {
	AppendText(dst, record []byte) []byte // appends lines below the record
	AppendJSON(dst, record []byte) []byte // appends members to the record's object, each preceded by a comma
}

// The names of formats.
const (
	Text = "text"
	JSON = "json"
	Hex  = "hex"
	Raw  = "raw"
)

// FormatNames returns the names of all formats. The first is the default.
func FormatNames() []string { return []string{Text, JSON, Hex, Raw} }

// NewFormat returns the format with the given name. Text and JSON decode the records that have one of
// types, show others in hex, and add extras. types and extras may be nil.
func NewFormat(name string, types *decode.Set, extras Extras) Format {
	switch name {
	case JSON:
		return jsonFormat(types, extras)
	case Hex:
		return appendHexLine
	case Raw:
		return appendRaw
	}
	return textFormat(types, extras)
}

// Decodes reports whether the named format shows decoded records.
func Decodes(name string) bool { return name == Text || name == JSON }

// appendRaw appends the length of a record, as 4 bytes little-endian, and the record.
func appendRaw(dst []byte, rec *Record) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rec.Data)))
	return append(dst, rec.Data...)
}

func appendHexLine(dst []byte, rec *Record) []byte {
	return append(hex.AppendEncode(dst, rec.Data), '\n')
}

func jsonFormat(types *decode.Set, extras Extras) Format {
	return func(dst []byte, rec *Record) []byte {
		dst = append(dst, `{"seq":`...)
		dst = strconv.AppendUint(dst, rec.Seq, 10)
		dst = append(dst, `,"pos":`...)
		dst = strconv.AppendUint(dst, rec.Pos, 10)
		dst = append(dst, `,"len":`...)
		dst = strconv.AppendInt(dst, int64(len(rec.Data)), 10)
		dst = appendData(append(dst, ','), rec.Data, types)
		if extras != nil {
			dst = extras.AppendJSON(dst, rec.Data)
		}
		return append(dst, "}\n"...)
	}
}

// appendData appends the data of a record: decoded if it has one of types, otherwise in hex.
func appendData(dst, data []byte, types *decode.Set) []byte {
	if dec := decoderFor(types, data); dec != nil {
		if out, ok := AppendTyped(dst, data, dec); ok {
			return out
		}
	}
	return AppendHex(dst, data)
}

// AppendTyped appends data to a JSON object as the members "type" and "data". If dec cannot decode
// data, it returns dst and false.
func AppendTyped(dst, data []byte, dec *decode.Codec) ([]byte, bool) {
	out := append(dst, `"type":`...)
	out = escape.AppendJSONString(out, []byte(dec.Name()))
	out = append(out, `,"data":`...)
	out, err := dec.AppendJSON(out, data)
	if err != nil {
		return dst, false
	}
	return out, true
}

// AppendHex appends data to a JSON object as the member "hex".
func AppendHex(dst, data []byte) []byte {
	dst = append(dst, `"hex":"`...)
	return append(hex.AppendEncode(dst, data), '"')
}

func textFormat(types *decode.Set, extras Extras) Format {
	line := textLine(types)
	if extras == nil {
		return line
	}
	return func(dst []byte, rec *Record) []byte { return extras.AppendText(line(dst, rec), rec.Data) }
}

// textLine returns a Format for text. It aligns the columns of records of one type.
func textLine(types *decode.Set) Format {
	type heading struct {
		name    string
		columns decode.Columns
	}
	headings := make(map[*decode.Codec]*heading)
	width := 0
	if types != nil {
		for _, dec := range types.Codecs() {
			h := &heading{name: escape.String(dec.Name())}
			headings[dec] = h
			width = max(width, len(h.name))
		}
	}
	return func(dst []byte, rec *Record) []byte {
		if dec := decoderFor(types, rec.Data); dec != nil {
			mark, h := len(dst), headings[dec]
			dst = append(dst, h.name...)
			for range width - len(h.name) + 1 {
				dst = append(dst, ' ')
			}
			if out, err := dec.AppendText(dst, rec.Data, &h.columns); err == nil {
				return append(out, '\n')
			}
			dst = dst[:mark]
		}
		dst = append(dst, "pos="...)
		dst = strconv.AppendUint(dst, rec.Pos, 10)
		dst = append(dst, " len="...)
		dst = strconv.AppendInt(dst, int64(len(rec.Data)), 10)
		dst = append(dst, ' ')
		return append(hex.AppendEncode(dst, rec.Data), '\n')
	}
}

// decoderFor returns the decoder for a record, or nil if the record has none of types.
func decoderFor(types *decode.Set, record []byte) *decode.Codec {
	if types == nil {
		return nil
	}
	dec, err := types.Codec(record)
	if err != nil {
		return nil
	}
	return dec
}
