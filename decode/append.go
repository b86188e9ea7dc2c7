package decode

import (
	"math/big"

	"github.com/rbtool/rbtool/internal/escape"
)

const hexDigits = "0123456789abcdef"

// appendTextString appends s bare if it is unambiguous, and otherwise quoted as in Go, so that no control
// character reaches a terminal.
func appendTextString(dst, s []byte) []byte {
	for _, c := range s {
		if !bare[c] {
			return escape.AppendQuoted(dst, s)
		}
	}
	if len(s) == 0 {
		return append(dst, `""`...)
	}
	return append(dst, s...)
}

// bare is the set of bytes that a string without quotes can have.
var bare = func() (set [256]bool) {
	for c := byte('!'); c <= '~'; c++ {
		set[c] = true
	}
	for _, c := range []byte(`"'\=,{}[]`) {
		set[c] = false
	}
	return set
}()

// appendInt128 appends the integer hi<<64 | lo in decimal.
func appendInt128(dst []byte, hi, lo uint64, signed bool) []byte {
	v := new(big.Int).SetUint64(hi)
	if signed {
		v.SetInt64(int64(hi))
	}
	v.Lsh(v, 64)
	return v.Add(v, new(big.Int).SetUint64(lo)).Append(dst, 10)
}
