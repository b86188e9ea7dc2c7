package decode

import (
	"bytes"
	"math"
	"slices"
	"unicode/utf8"
)

// chars returns the string of o, a char array, in the record or element b: up to the first NUL; or, if the record says
// how many bytes of the array are used and they are texts with a NUL after each, as arguments of a process
// are, up to the end of the last text.
func (o *op) chars(b []byte) []byte {
	all := b[o.off:]
	all = all[:o.array.len(all)]
	end := bytes.IndexByte(all, 0)
	if end < 0 {
		return all
	}
	if used := o.used(b, len(all)); used > end+1 {
		if texts := bytes.TrimRight(all[:used], "\x00"); len(texts) > end && areTexts(texts) {
			return texts
		}
	}
	return all[:end]
}

// used returns how many of n bytes of o, a char array, are used, as far as the record b says so: by a member, or by
// its own end, if that cuts the array.
func (o *op) used(b []byte, n int) int {
	a := o.array
	if a.length != nil && a.length.least <= len(b) {
		v := a.length.load(b)
		if a.length.kind == kindInt && signed(v, a.length.width) < 0 {
			return 0
		}
		return int(min(v, uint64(n)))
	}
	if n < a.n && a.n != math.MaxInt {
		return n
	}
	return 0
}

// areTexts reports whether b is UTF-8 without control characters, apart from NUL, tab and newline.
func areTexts(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != 0 && c != '\t' && c != '\n' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}

// addLengths finds the members that say how many bytes of the char arrays in fields are used: args_size for args.
func addLengths(fields []*node) {
	for _, f := range fields {
		if f.kind != kindString || f.object {
			continue
		}
		i := slices.IndexFunc(fields, func(g *node) bool {
			return !g.object && (g.kind == kindUint || g.kind == kindInt) && isLengthOf(g.name, f.name)
		})
		if i >= 0 {
			f.array.length = &fields[i].op
		}
	}
}

// isLengthOf reports whether a member of this name says how long the one called array is.
func isLengthOf(name, array string) bool {
	for _, word := range []string{"size", "len", "length"} {
		if name == array+"_"+word || name == array+word || name == word+"_"+array {
			return true
		}
	}
	return false
}
