// Package stream carries records from a source to a sink.
package stream

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/escape"
)

// format appends the output for a record, the seq-th, to dst.
type Format func(dst []byte, seq uint64, rec consumer.Record) []byte

// newFormat returns the format called name. types, which may be nil, decode the
// records for text and JSON; those they do not fit are shown in hex.
func NewFormat(name string, types *decode.Set) Format {
	switch name {
	case "json":
		return jsonFormat(types)
	case "hex":
		return appendHexLine
	case "raw":
		return AppendRaw
	}
	return textFormat(types)
}

// appendRaw is what rbtool produce --format lp32 reads.
func AppendRaw(dst []byte, _ uint64, rec consumer.Record) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(rec.Data)))
	return append(dst, rec.Data...)
}

func appendHexLine(dst []byte, _ uint64, rec consumer.Record) []byte {
	return append(hex.AppendEncode(dst, rec.Data), '\n')
}

func jsonFormat(types *decode.Set) Format {
	return func(dst []byte, seq uint64, rec consumer.Record) []byte {
		dst = append(dst, `{"seq":`...)
		dst = strconv.AppendUint(dst, seq, 10)
		dst = append(dst, `,"pos":`...)
		dst = strconv.AppendUint(dst, rec.Pos, 10)
		dst = append(dst, `,"len":`...)
		dst = strconv.AppendInt(dst, int64(len(rec.Data)), 10)
		if dec := decoderFor(types, rec.Data); dec != nil {
			mark := len(dst)
			dst = append(dst, `,"type":`...)
			dst = escape.AppendJSONString(dst, []byte(dec.Name()))
			dst = append(dst, `,"data":`...)
			if out, err := dec.AppendJSON(dst, rec.Data); err == nil {
				return append(out, "}\n"...)
			}
			dst = dst[:mark]
		}
		dst = append(dst, `,"hex":"`...)
		dst = hex.AppendEncode(dst, rec.Data)
		return append(dst, "\"}\n"...)
	}
}

func textFormat(types *decode.Set) Format {
	// Columns of records of one type stand below each other.
	type heading struct {
		name    string
		columns decode.Columns
	}
	headings := make(map[*decode.Decoder]*heading)
	width := 0
	if types != nil {
		for _, dec := range types.Decoders() {
			h := &heading{name: escape.String(dec.Name())}
			headings[dec] = h
			width = max(width, len(h.name))
		}
	}
	return func(dst []byte, _ uint64, rec consumer.Record) []byte {
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

// decoderFor returns the decoder of a record, nil when there is none.
func decoderFor(types *decode.Set, record []byte) *decode.Decoder {
	if types == nil {
		return nil
	}
	dec, err := types.Decoder(record)
	if err != nil {
		return nil
	}
	return dec
}
