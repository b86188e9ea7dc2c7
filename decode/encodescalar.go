package decode

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// words are the bits of a scalar: the low 64, then the high 64.
type words [2]uint64

// store writes the bits of a scalar at the start of b.
func (o *op) store(b []byte, v words) {
	b = b[:o.size]
	if o.shift == 0 && o.width == o.size*8 {
		var le [16]byte
		binary.LittleEndian.PutUint64(le[:], v[0])
		binary.LittleEndian.PutUint64(le[8:], v[1])
		copy(b, le[:])
		return
	}
	for i := range int(o.width) { // a bitfield, which can share bytes with its neighbors
		at := int(o.shift) + i
		b[at/8] = b[at/8]&^(1<<(at%8)) | byte(v[0]>>i&1)<<(at%8)
	}
}

// parse returns the bits of the scalar o for the JSON value t.
func (o *op) parse(t json.Token) (words, error) {
	switch o.kind {
	case kindBool:
		if b, ok := t.(bool); !ok {
			return words{}, wrongKind(t, "true or false")
		} else if b {
			return words{1}, nil
		}
		return words{}, nil
	case kindFloat:
		return o.parseFloat(t)
	case kindEnum:
		if name, ok := t.(string); ok {
			if bits, ok := o.enum.values[name]; ok {
				return words{lowBits(bits, o.width)}, o.fits(bits, name)
			}
			if name == "" || !strings.ContainsAny(name[:1], "0123456789-") {
				return words{}, fmt.Errorf("%w: no enumerator %q", ErrMismatch, short(name))
			}
		}
	}
	return o.parseInt(t)
}

// fits returns an error if o is a bitfield too narrow for bits, the value of the enumerator name.
func (o *op) fits(bits uint64, name string) error {
	back := lowBits(bits, o.width)
	if o.enum.signed {
		back = uint64(signed(back, o.width))
	}
	if back != bits {
		return fmt.Errorf("%w: %s does not fit into %d bits", ErrMismatch, name, o.width)
	}
	return nil
}

// parseInt parses an integer of any width.
func (o *op) parseInt(t json.Token) (words, error) {
	var text string
	switch t := t.(type) {
	case json.Number:
		text = t.String()
	case string:
		text = t
	default:
		return words{}, wrongKind(t, "an integer")
	}
	n, ok := parseBig(text)
	if !ok {
		return words{}, wrongKind(t, "an integer")
	}
	if least, most := o.bounds(); n.Cmp(least) < 0 || n.Cmp(most) > 0 {
		return words{}, fmt.Errorf("%w: %s is out of range (%s to %s)", ErrMismatch, text, least, most)
	}
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	low := new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64))
	return words{low.Uint64(), new(big.Int).Rsh(n, 64).Uint64()}, nil
}

// bounds returns the minimum and maximum of the integers that o can hold.
func (o *op) bounds() (least, most *big.Int) {
	one := big.NewInt(1)
	width := uint(o.width)
	if o.kind == kindInt || o.kind == kindInt128 || o.kind == kindEnum && o.enum.signed {
		half := new(big.Int).Lsh(one, width-1)
		return new(big.Int).Neg(half), new(big.Int).Sub(half, one)
	}
	return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, width), one)
}

// parseBig parses an integer in decimal or, after 0x, in hex.
func parseBig(text string) (*big.Int, bool) {
	const longest = 80 // bytes: enough for any integer that fits, with leading zeros
	if len(text) > longest {
		return nil, false
	}
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		if strings.ContainsAny(digits, "+-_") {
			return nil, false
		}
		return new(big.Int).SetString(digits, 16)
	}
	if strings.ContainsAny(text, "+_") {
		return nil, false
	}
	return new(big.Int).SetString(text, 10)
}

// parseFloat parses a number, or "NaN", "+Inf" and "-Inf".
func (o *op) parseFloat(t json.Token) (words, error) {
	bits := int(o.size) * 8
	var f float64
	switch t := t.(type) {
	case json.Number:
		var err error
		if f, err = strconv.ParseFloat(t.String(), bits); err != nil {
			return words{}, fmt.Errorf("%w: %s is out of range of a float of %d bits", ErrMismatch, short(t.String()), bits)
		}
	case string:
		switch t {
		case "NaN":
			f = math.NaN()
		case "+Inf":
			f = math.Inf(1)
		case "-Inf":
			f = math.Inf(-1)
		default:
			return words{}, wrongKind(t, "a number")
		}
	default:
		return words{}, wrongKind(t, "a number")
	}
	if bits == 32 {
		return words{uint64(math.Float32bits(float32(f)))}, nil
	}
	return words{math.Float64bits(f)}, nil
}
