package stream

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/clock"
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
	Text  = "text"
	JSON  = "json"
	JSONL = "jsonl" // the same as JSON: a record is a line
	YAML  = "yaml"
	CSV   = "csv"
	Hex   = "hex"
	Raw   = "raw"
)

// FormatNames returns the names of all formats. The first is the default.
func FormatNames() []string { return []string{Text, JSON, JSONL, YAML, CSV, Hex, Raw} }

// FormatOptions say what a Format shows besides the bytes of records.
type FormatOptions struct {
	Types  *decode.Set // text and JSON decode the records that have one of these types; may be nil
	Extras Extras      // of text and JSON; may be nil
	// Print says what text and JSON show of decoded records.
	Print decode.PrintOptions
	// Hint says how to see a record in full, such as "--full". It stands where text shortens a record; may be "".
	Hint string
	// Width is the number of columns of the terminal that shows the text: if they are enough, the text is
	// a table. 0 stands for no terminal.
	Width int
	// NoHeader leaves the names of columns out.
	NoHeader bool

	rings *ringNames // nil if there is one ring: its name is not shown
	begun *bool      // CSV has its first line, or does not want it; shared by the formats of several rings
}

// NewFormat returns the format with the given name. Text and JSON show records without a type in hex. They give
// the time of a record as the record itself has it, and otherwise as [Record.Time].
func NewFormat(name string, o FormatOptions) Format {
	if o.begun == nil {
		o.begun = new(bool)
	}
	switch name {
	case JSON, JSONL:
		return jsonFormat(&o)
	case YAML:
		return yamlFormat(&o)
	case CSV:
		return csvFormat(&o)
	case Hex:
		return appendHexLine
	case Raw:
		return appendRaw
	}
	return textFormat(&o)
}

// Decodes reports whether the named format shows decoded records.
func Decodes(name string) bool { return name != Hex && name != Raw }

// appendRaw appends the length of a record, as 4 bytes little-endian, and the record.
func appendRaw(dst []byte, rec *Record) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rec.Data)))
	return append(dst, rec.Data...)
}

func appendHexLine(dst []byte, rec *Record) []byte {
	return append(hex.AppendEncode(dst, rec.Data), '\n')
}

func jsonFormat(o *FormatOptions) Format {
	printers, face, extras, rings := newPrinters(o), clock.NewRFC3339(), o.Extras, o.rings
	quote := func(dst []byte) []byte { return dst }
	if o.Print.Int64Strings {
		quote = func(dst []byte) []byte { return append(dst, '"') }
	}
	return func(dst []byte, rec *Record) []byte {
		p := printers.of(rec.Data)
		dst = quote(append(dst, `{"seq":`...))
		dst = quote(strconv.AppendUint(dst, rec.Seq, 10))
		dst = quote(append(dst, `,"pos":`...))
		dst = quote(strconv.AppendUint(dst, rec.Pos, 10))
		dst = append(dst, `,"len":`...)
		dst = rings.appendJSON(strconv.AppendInt(dst, int64(len(rec.Data)), 10), rec)
		if wall := p.time(rec); wall != 0 {
			dst = append(face.Append(append(dst, `,"time":"`...), wall, 9), '"')
		}
		dst = p.appendJSON(append(dst, ','), rec.Data)
		if extras != nil {
			dst = extras.AppendJSON(dst, rec.Data)
		}
		return append(dst, "}\n"...)
	}
}

// AppendTyped appends data to a JSON object as the members "type", "known_by" if no BTF describes the type, and
// "data". If dec cannot decode data, it returns dst and false.
func AppendTyped(dst, data []byte, dec *decode.Codec) ([]byte, bool) {
	out, err := dec.AppendJSON(appendHeading(dst, dec), data)
	if err != nil {
		return dst, false
	}
	return out, true
}

// appendHeading appends the members of a JSON object before the value of "data".
func appendHeading(dst []byte, dec *decode.Codec) []byte {
	dst = escape.AppendJSONString(append(dst, `"type":`...), []byte(dec.Name()))
	if by := dec.KnownBy(); by != "" {
		dst = escape.AppendJSONString(append(dst, `,"known_by":`...), []byte(by))
	}
	return append(dst, `,"data":`...)
}

// AppendHex appends data to a JSON object as the member "hex".
func AppendHex(dst, data []byte) []byte {
	dst = append(dst, `"hex":"`...)
	return append(hex.AppendEncode(dst, data), '"')
}
