package decode

import (
	"math/bits"
	"slices"
)

// appendUint appends v in decimal. strconv.AppendUint first writes the digits elsewhere.
func appendUint(dst []byte, v uint64) []byte {
	n := digits(v)
	dst = slices.Grow(dst, n)[:len(dst)+n]
	i := len(dst)
	for v >= 100 {
		q := v / 100
		pair := 2 * (v - 100*q)
		i -= 2
		dst[i], dst[i+1] = pairs[pair], pairs[pair+1]
		v = q
	}
	if v < 10 {
		dst[i-1] = '0' + byte(v)
		return dst
	}
	dst[i-2], dst[i-1] = pairs[2*v], pairs[2*v+1]
	return dst
}

// appendInt appends v in decimal.
func appendInt(dst []byte, v int64) []byte {
	if v < 0 {
		return appendUint(append(dst, '-'), -uint64(v))
	}
	return appendUint(dst, uint64(v))
}

// digits returns the number of decimal digits of v.
func digits(v uint64) int {
	n := bits.Len64(v|1) * 1233 >> 12 // 1233/4096 is a little more than the logarithm of 2
	if v >= powers[n] {
		n++
	}
	return max(n, 1)
}

// powers are those of 10.
var powers = func() (p [20]uint64) {
	p[0] = 1
	for i := range p[1:] {
		p[i+1] = 10 * p[i]
	}
	return p
}()

// pairs are the numbers from 00 to 99.
var pairs = func() (p [200]byte) {
	for i := range 100 {
		p[2*i], p[2*i+1] = '0'+byte(i/10), '0'+byte(i%10)
	}
	return p
}()
