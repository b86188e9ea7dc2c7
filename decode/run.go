package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/rbtool/rbtool/internal/escape"
)

// run is the state of the decoding of one record.
type run struct {
	out     []byte
	limit   int64 // maximum of len(out)
	text    bool
	printer *Printer // how text is shown; nil shows values by their kinds only
	align   bool     // pad the values to the columns of printer
	column  int      // number of the column of the first operation
	rest    *node    // bytes after a header; nil shows none

	start           int // of the record's output
	last, lastStart int // see cut: the operation of the last value, from 1, and the start of its output; 0 after a struct
}

// do runs ops on b, which is the record or an element of an array. It returns false if the output exceeds
// r.limit.
func (r *run) do(ops []op, b []byte) bool {
	for i := range ops {
		o := &ops[i]
		if r.text {
			r.out = append(r.out, o.text...)
		} else {
			r.out = append(r.out, o.json...)
		}
		start := len(r.out)
		if !r.value(o, b) || int64(len(r.out)) > r.limit {
			return false
		}
		if o.column && r.align {
			r.out = r.printer.pad(r.out, r.column+i, len(r.out)-start)
		}
	}
	return true
}

func (r *run) value(o *op, b []byte) bool {
	if o.meaning != NoMeaning && r.printer != nil && r.meant(o, b) {
		return true
	}
	switch o.kind {
	case kindLiteral:
	case kindUint:
		r.out = appendUint(r.out, o.load(b))
	case kindInt:
		r.out = appendInt(r.out, signed(o.load(b), o.width))
	case kindBool:
		r.out = strconv.AppendBool(r.out, o.load(b) != 0)
	case kindEnum:
		r.enum(o, o.load(b))
	case kindString:
		r.string(o.chars(b))
	case kindArray:
		return r.array(o.array, b[o.off:])
	case kindRest:
		if r.text && r.printer != nil {
			r.bytes(b[o.off:])
			break
		}
		r.quote()
		r.out = hex.AppendEncode(r.out, b[o.off:])
		r.quote()
	case kindPointer:
		r.quote()
		r.out = strconv.AppendUint(append(r.out, "0x"...), o.load(b), 16)
		r.quote()
	default:
		r.rare(o, b)
	}
	return true
}

// rare appends the value of o in b, whose kind is uncommon. In JSON it is in quotes, unless it is a float.
func (r *run) rare(o *op, b []byte) {
	if o.kind == kindFloat {
		r.float(o, b[o.off:])
		return
	}
	r.quote()
	switch o.kind {
	case kindUintString:
		r.out = appendUint(r.out, o.load(b))
	case kindIntString:
		r.out = appendInt(r.out, signed(o.load(b), o.width))
	case kindUint128, kindInt128:
		low, high := binary.LittleEndian.Uint64(b[o.off:]), binary.LittleEndian.Uint64(b[o.off+8:])
		r.out = appendInt128(r.out, high, low, o.kind == kindInt128)
	case kindHex:
		r.out = append(r.out, "0x"...)
		for i := o.off + int(o.size) - 1; i >= o.off; i-- {
			r.out = append(r.out, hexDigits[b[i]>>4], hexDigits[b[i]&15])
		}
	}
	r.quote()
}

// quote appends a quote if the output is JSON.
func (r *run) quote() {
	if !r.text {
		r.out = append(r.out, '"')
	}
}

func (r *run) enum(o *op, v uint64) {
	name, ok := o.enum.names[o.enum.key(v, o.width)]
	switch {
	case ok && r.text:
		r.out = append(r.out, name.text...)
	case ok:
		r.out = append(r.out, name.json...)
	case r.printer != nil && r.flags(o.enum, v):
	case o.enum.signed:
		r.out = appendInt(r.out, signed(v, o.width))
	default:
		r.out = appendUint(r.out, v)
	}
}

func (r *run) string(s []byte) {
	switch {
	case !r.text:
		r.out = escape.AppendJSONString(r.out, s)
	case r.shortens() && len(s) > maxString:
		kept := shortString
		for kept > shortString-utf8.UTFMax && !utf8.RuneStart(s[kept]) {
			kept--
		}
		r.texts(s[:kept])
		r.more(len(s) - kept)
	default:
		r.texts(s)
	}
}

// texts appends a string as text, and several, with a NUL between them, as an array.
func (r *run) texts(s []byte) {
	first, rest, several := bytes.Cut(s, []byte{0})
	if !several {
		r.out = appendTextString(r.out, s)
		return
	}
	r.out = appendTextString(append(r.out, '['), first)
	for several {
		first, rest, several = bytes.Cut(rest, []byte{0})
		r.out = appendTextString(append(r.out, ','), first)
	}
	r.out = append(r.out, ']')
}

// Values of more bytes or elements than maxString and maxArray are shortened.
const (
	maxString, shortString = 200, 160
	maxArray, shortArray   = 32, 16
)

// shortens reports whether long values are shortened.
func (r *run) shortens() bool { return r.printer != nil && !r.printer.full }

// more appends how many bytes or elements are left out.
func (r *run) more(n int) {
	r.out = append(strconv.AppendInt(append(r.out, "...(+"...), int64(n), 10), ')')
}

func (r *run) float(o *op, b []byte) {
	var f float64
	if o.size == 4 {
		f = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	} else {
		f = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		r.quote()
		defer r.quote()
	}
	r.out = strconv.AppendFloat(r.out, f, 'g', -1, int(o.width))
}

func (r *run) array(a *array, b []byte) bool {
	elem, n := a.elem, a.len(b)
	if r.text {
		elem = a.text
	}
	shown := n
	if r.shortens() {
		n = a.used(b, n)
		if shown = n; n > maxArray {
			shown = shortArray
		}
	}
	r.out = append(r.out, '[')
	for i := range shown {
		if i > 0 {
			r.out = append(r.out, ',')
		}
		if !r.do(elem, b[i*a.stride:(i+1)*a.stride]) {
			return false
		}
	}
	if shown < n {
		r.more(n - shown)
	}
	r.out = append(r.out, ']')
	return true
}
