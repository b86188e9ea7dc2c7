package decode

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/rbtool/rbtool/internal/escape"
)

// run is the state of the decoding of one record.
type run struct {
	out     []byte
	limit   int64 // maximum of len(out)
	text    bool
	columns *Columns
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
		if o.column && r.columns != nil {
			r.out = r.columns.pad(r.out, i, len(r.out)-start)
		}
	}
	return true
}

func (r *run) value(o *op, b []byte) bool {
	switch o.kind {
	case kindLiteral:
	case kindUint:
		r.out = strconv.AppendUint(r.out, o.load(b), 10)
	case kindInt:
		r.out = strconv.AppendInt(r.out, signed(o.load(b), o.width), 10)
	case kindBool:
		r.out = strconv.AppendBool(r.out, o.load(b) != 0)
	case kindEnum:
		r.enum(o, o.load(b))
	case kindString:
		r.string(o.array.bytes(b[o.off:]))
	case kindArray:
		return r.array(o.array, b[o.off:])
	case kindPointer:
		r.quote()
		r.out = strconv.AppendUint(append(r.out, "0x"...), o.load(b), 16)
		r.quote()
	default:
		r.rare(o, b[o.off:o.off+int(o.size)])
	}
	return true
}

// rare appends b, a value of an uncommon kind.
func (r *run) rare(o *op, b []byte) {
	switch {
	case o.kind == kindUint128 || o.kind == kindInt128:
		r.quote()
		r.out = appendInt128(r.out, binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b), o.kind == kindInt128)
		r.quote()
	case o.kind == kindHex:
		r.quote()
		r.out = append(r.out, "0x"...)
		for i := len(b) - 1; i >= 0; i-- {
			r.out = append(r.out, hexDigits[b[i]>>4], hexDigits[b[i]&15])
		}
		r.quote()
	case o.size == 4:
		r.float(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 32)
	default:
		r.float(math.Float64frombits(binary.LittleEndian.Uint64(b)), 64)
	}
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
	case o.enum.signed:
		r.out = strconv.AppendInt(r.out, signed(v, o.width), 10)
	default:
		r.out = strconv.AppendUint(r.out, v, 10)
	}
}

func (r *run) string(s []byte) {
	if r.text {
		r.out = appendTextString(r.out, s)
	} else {
		r.out = escape.AppendJSONString(r.out, s)
	}
}

func (r *run) float(f float64, bits int) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		r.quote()
		defer r.quote()
	}
	r.out = strconv.AppendFloat(r.out, f, 'g', -1, bits)
}

func (r *run) array(a *array, b []byte) bool {
	r.out = append(r.out, '[')
	for i := range a.len(b) {
		if i > 0 {
			r.out = append(r.out, ',')
		}
		if !r.do(a.elem, b[i*a.stride:(i+1)*a.stride]) {
			return false
		}
	}
	r.out = append(r.out, ']')
	return true
}
