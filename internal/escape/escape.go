// Package escape makes untrusted text safe to show: the names of processes, files and types,
// and the strings in records, may be any bytes. Escape sequences in them control a terminal,
// newlines forge lines, and bidirectional controls reorder text.
//
// A rune is shown as it is if [unicode.IsPrint] holds for it; control characters (C0, DEL and
// C1), format characters and bytes that are not UTF-8 are escaped as in a Go string, in JSON
// as JSON does. Text without such runes is returned as it is, so that escaping again changes
// nothing: an escape sequence is itself printable.
//
// All functions may be called by many goroutines at once.
package escape

import (
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// String escapes all of s that is not printable. The result has no newline.
func String(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || !line[c] {
			return string(rewrite(nil, []byte(s), &line, appendGo))
		}
	}
	return s
}

// AppendQuoted appends s in double quotes, as [strconv.Quote] writes it: quotes and
// backslashes in s are escaped too, so that no two strings look alike.
func AppendQuoted(dst, s []byte) []byte {
	return append(rewrite(append(dst, '"'), s, &quoted, appendGo), '"')
}

// AppendJSONString appends s as a JSON string (RFC 8259, section 7) if it is UTF-8, and
// otherwise as an array of its bytes, as journalctl -o json does. So no two strings look
// alike, and no JSON parser replaces or refuses one.
func AppendJSONString(dst, s []byte) []byte {
	if utf8.Valid(s) {
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

// AppendJSON appends a JSON document that means what doc does. Outside of strings JSON has
// printable ASCII and white space only, so any other rune is one of a string and can be
// replaced by its escape sequence.
func AppendJSON(dst, doc []byte) []byte { return rewrite(dst, doc, &document, appendJSON) }

// set is the ASCII characters that are shown as they are.
type set [utf8.RuneSelf]bool

var (
	line     = printable("", "")       // in one line of text
	text     = printable("\n\t", "")   // in lines of text
	quoted   = printable("", `"\`)     // between quotes
	document = printable("\n\t\r", "") // in JSON
)

// printable returns the printable characters, with others and without some.
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

// rewrite appends s to dst, with escape for each rune that is not shown as it is.
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

// appendGo appends a rune, or a byte of none, as it is written in a Go string.
func appendGo(dst, r []byte) []byte {
	literal := strconv.Quote(string(r))
	return append(dst, literal[1:len(literal)-1]...)
}

// appendJSON appends a rune as it is written in a JSON string. A byte that is not UTF-8, which
// no JSON has, becomes U+FFFD.
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
