// Package escape makes untrusted text safe to print. The names of processes, files and types, and
// the strings in records, can hold any bytes: escape sequences that control a terminal, newlines
// that forge lines, bidirectional controls that reorder text.
//
// Runes for which [unicode.IsPrint] reports true stay. Control characters (C0, DEL and C1), format
// characters and bytes that are not UTF-8 are escaped as in a Go string literal, or in JSON as in a
// JSON string. Escaping is idempotent: an escape sequence is printable.
//
// All functions may be called concurrently.
package escape

import (
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// String escapes the unprintable runes of s. Newlines and tabs are escaped too.
func String(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || !line[c] {
			return string(rewrite(nil, []byte(s), &line, appendGo))
		}
	}
	return s
}

// AppendQuoted appends s in double quotes, as [strconv.Quote] does. It also escapes quotes and
// backslashes, so different strings look different.
func AppendQuoted(dst, s []byte) []byte {
	return append(rewrite(append(dst, '"'), s, &quoted, appendGo), '"')
}

// AppendJSONString appends s as a JSON string (RFC 8259, section 7) if s is UTF-8, otherwise as an array
// of its bytes, as journalctl -o json does. Different strings have different output, and no JSON parser
// replaces or rejects any of it.
func AppendJSONString(dst, s []byte) []byte {
	switch n := plain(s, &quoted); {
	case n == len(s):
		return append(append(append(dst, '"'), s...), '"')
	case utf8.Valid(s[n:]):
		return append(rewrite(append(dst, '"'), s, &quoted, appendJSON), '"')
	}
	for i, c := range s {
		separator := byte(',')
		if i == 0 {
			separator = '['
		}
		dst = strconv.AppendUint(append(dst, separator), uint64(c), 10)
	}
	return append(dst, ']')
}

// plain returns how many bytes at the start of s are in shown.
func plain(s []byte, shown *set) int {
	for i, c := range s {
		if c >= utf8.RuneSelf || !shown[c] {
			return i
		}
	}
	return len(s)
}

// AppendJSON appends the JSON document doc with its unprintable runes escaped. Such runes are only in
// strings, where the escape sequence means the same rune.
func AppendJSON(dst, doc []byte) []byte { return rewrite(dst, doc, &document, appendJSON) }

// set tells which ASCII characters need no escape.
type set [utf8.RuneSelf]bool

var (
	line     = printable("", "")       // for one line of text
	text     = printable("\n\t", "")   // for several lines of text
	quoted   = printable("", `"\`)     // for text between double quotes
	document = printable("\n\t\r", "") // for a JSON document
)

// printable returns the printable ASCII characters, plus those in with and minus those in without.
func printable(with, without string) (s set) {
	for c := byte(' '); c <= '~'; c++ {
		s[c] = true
	}
	for _, c := range []byte(with) {
		s[c] = true
	}
	for _, c := range []byte(without) {
		s[c] = false
	}
	return s
}

// rewrite appends s to dst. It escapes each rune that is neither in shown nor printable.
func rewrite(dst, s []byte, shown *set, escape func(dst, r []byte) []byte) []byte {
	done := 0 // s[:done] is in dst
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf && shown[c] {
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		if size > 1 && unicode.IsPrint(r) {
			i += size
			continue
		}
		dst = escape(append(dst, s[done:i]...), s[i:i+size])
		i += size
		done = i
	}
	return append(dst, s[done:]...)
}

// appendGo appends r as an escape sequence of Go. r is the bytes of a rune, or one invalid byte.
func appendGo(dst, r []byte) []byte {
	literal := strconv.Quote(string(r))
	return append(dst, literal[1:len(literal)-1]...)
}

// appendJSON appends b as an escape sequence of JSON. b is the bytes of a rune; an invalid byte, which
// valid JSON does not have, becomes U+FFFD.
func appendJSON(dst, b []byte) []byte {
	switch b[0] {
	case '"', '\\':
		return append(dst, '\\', b[0])
	case '\n':
		return append(dst, `\n`...)
	case '\t':
		return append(dst, `\t`...)
	}
	r, _ := utf8.DecodeRune(b)
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(dst, `\u%04x`, r)
}
