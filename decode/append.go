package decode

import (
	"math/big"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string (RFC 8259, section 7). What is
// not UTF-8 becomes U+FFFD, one for each byte.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	done := 0 // s[:done] is in dst
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRune(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[done:i]...)
		switch {
		case c >= utf8.RuneSelf:
			dst = append(dst, `\ufffd`...)
		case c >= ' ':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		done = i
	}
	return append(append(dst, s[done:]...), '"')
}

// appendTextString appends s bare where no reader can take it for something
// else, and otherwise quoted as in Go, so that no byte of it reaches a
// terminal raw.
func appendTextString(dst, s []byte) []byte {
	for _, c := range s {
		if !bare[c] {
			return strconv.AppendQuote(dst, string(s))
		}
	}
	if len(s) == 0 {
		return append(dst, `""`...)
	}
	return append(dst, s...)
}

// bare has the bytes of an unquoted string in text.
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
