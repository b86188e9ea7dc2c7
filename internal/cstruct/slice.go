package cstruct

import (
	"regexp"
	"strings"
)

// piece is a directive or a declaration outside of functions.
type piece struct {
	start, end int  // offsets in the text
	directive  bool // it is a line for the preprocessor
	types      bool // it may declare types
}

var (
	// declares matches the beginning of a declaration that may declare types.
	declares  = regexp.MustCompile(`^(?:(?:static|const|volatile|extern|__extension__)\s+)*(?:typedef|struct|union|enum)\b`)
	typedef   = regexp.MustCompile(`^(?:__extension__\s+)?typedef\b`)
	attribute = regexp.MustCompile(`__attribute__\s*\(\(.*?\)\)\s*$`)
	// mapDefinition matches the definition of a map in the style of libbpf.
	mapDefinition = regexp.MustCompile(`"\.maps"|\b__uint\s*\(`)

	linkage    = regexp.MustCompile(`^extern\s*"C"\s*$`)
	definition = regexp.MustCompile(`\b(struct|union|enum)\s+(?:__\w+\s*(?:\(\(.*?\)\)\s*)?)*(\w+)\s*\{`)
	lastName   = regexp.MustCompile(`(\w+)\s*;\s*$`)
)

// slice returns the pieces of a text whose brackets match, in order.
func slice(text string) (pieces []piece) {
	start, depth, function, body := -1, 0, false, -1
	finish := func(end int) {
		if start >= 0 && !function {
			head := strings.TrimSpace(text[start:end])
			types := declares.MatchString(head) && (body >= 0 || typedef.MatchString(head)) && !mapDefinition.MatchString(head)
			pieces = append(pieces, piece{start, end, false, types})
		}
		start, function, body = -1, false, -1
	}
	for i := 0; i < len(text); {
		if n := blank(text[i:]); n > 0 {
			i += n
			continue
		}
		c := text[i]
		if c == '#' && startsLine(text, i) {
			end := directiveEnd(text, i)
			if start < 0 { // otherwise it is a part of the declaration around it
				pieces = append(pieces, piece{i, end, true, false})
			}
			i = end
			continue
		}
		if start < 0 {
			start = i
		}
		switch c {
		case '(', '[':
			depth++
		case '{':
			if depth == 0 && body < 0 {
				head := strings.TrimSpace(attribute.ReplaceAllString(text[start:i], ""))
				if linkage.MatchString(head) {
					start = -1 // the block is transparent: its end is ignored below
					i++
					continue
				}
				function, body = strings.HasSuffix(head, ")"), i
			}
			depth++
		case ')', ']', '}':
			if depth == 0 { // the end of extern "C"
				start = -1
				break
			}
			if depth--; depth == 0 && function && c == '}' {
				finish(i + 1)
			}
		case ';':
			if depth == 0 {
				finish(i + 1)
			}
		}
		i++
	}
	finish(len(text))
	return pieces
}

// startsLine reports whether only space precedes an offset on its line.
func startsLine(text string, at int) bool {
	line := text[strings.LastIndexByte(text[:at], '\n')+1 : at]
	return strings.TrimSpace(line) == ""
}

// directiveEnd returns the end of the directive that starts at an offset: of its line and those that continue it.
func directiveEnd(text string, at int) int {
	for {
		n := strings.IndexByte(text[at:], '\n')
		if n < 0 {
			return len(text)
		}
		at += n + 1
		if !strings.HasSuffix(strings.TrimRight(text[:at-1], " \t\r"), "\\") {
			return at - 1
		}
	}
}

// only returns a text with spaces in place of all but the pieces: positions stay the same.
func only(text string, pieces []piece) string {
	out := []byte(text)
	at := 0
	clear := func(end int) {
		for ; at < end; at++ {
			if out[at] != '\n' {
				out[at] = ' '
			}
		}
	}
	for _, p := range pieces {
		clear(p.start)
		at = p.end
	}
	clear(len(out))
	return string(out)
}

// declaredBy returns the names of the types that a piece declares, and whether one of them is a struct or union.
func declaredBy(text string) (names []string, record bool) {
	for _, m := range definition.FindAllStringSubmatch(text, -1) {
		names = append(names, m[2])
		record = record || m[1] != "enum"
	}
	if strings.HasPrefix(text, "typedef") {
		if m := lastName.FindStringSubmatch(text); m != nil {
			names = append(names, m[1])
			record = record || strings.Contains(text, "{")
		}
	}
	return names, record
}
