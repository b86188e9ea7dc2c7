package cstruct

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// MaxSize is the largest size of a text in bytes.
const MaxSize = 1 << 20

// Limits of the work that a text makes. The parser calls itself for each level of nesting and for each operator of
// an expression, and compares each declaration of an enumerator with all others of the same name.
const (
	maxNesting   = 200
	maxRun       = 4096    // characters between two of ; , { and }
	maxRepeated  = 64      // declarations of an enumerator
	maxExpansion = 1 << 18 // tokens that macros produce
	maxTypes     = 1 << 14 // types and members
	maxRefused   = 100     // declarations that cannot be read
	maxTime      = 5 * time.Second
)

var (
	errSize        = fmt.Errorf("more than %d KiB of C", MaxSize>>10)
	errNesting     = fmt.Errorf("nested more than %d levels deep", maxNesting)
	errRun         = fmt.Errorf("a declaration or expression of more than %d characters", maxRun)
	errTypes       = fmt.Errorf("more than %d types and members", maxTypes)
	errTime        = fmt.Errorf("parsing takes more than %v", maxTime)
	errVectors     = errors.New("vectors are not supported")
	errAlignedBits = errors.New("a bitfield with the attribute aligned is not supported")
)

// alignedBits finds the attribute aligned after the width of a bitfield.
var alignedBits = regexp.MustCompile(`:[^;:{}]*\b(aligned(__)?|__aligned)\s*\(`)

// checkText refuses a text that is too large, and one whose brackets do not match: at its end the parser may loop
// forever.
func checkText(text string) error {
	if len(text) > MaxSize {
		return errSize
	}
	var open []byte // the brackets that end those which are open
	for i := 0; i < len(text); i++ {
		if n := blank(text[i:]); n > 0 {
			i += n - 1
			continue
		}
		switch c := text[i]; c {
		case '(':
			open = append(open, ')')
		case '[', '{':
			open = append(open, c+2) // ] and } in ASCII
		case ')', ']', '}':
			if len(open) == 0 || open[len(open)-1] != c {
				return fmt.Errorf("line %d: %q without its opening bracket", lineOf(text, i), c)
			}
			open = open[:len(open)-1]
		}
		if len(open) > maxNesting {
			return errNesting
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%q is missing at the end", open[len(open)-1])
	}
	return nil
}

// checkDeclarations refuses declarations that are too complex, and those that the parser would lay out differently
// from clang: with vectors or aligned bitfields. Its errors start with ":line:column: ".
func checkDeclarations(text string) error {
	for what, err := range map[string]error{"vector_size": errVectors, "ext_vector_type": errVectors} {
		if i := strings.Index(text, what); i >= 0 {
			return at(text, i, err)
		}
	}
	if m := alignedBits.FindStringIndex(text); m != nil {
		return at(text, m[0], errAlignedBits)
	}
	run := 0
	for i := 0; i < len(text); i++ {
		if n := blank(text[i:]); n > 0 {
			i += n - 1
			continue
		}
		if run++; strings.IndexByte(";,{}", text[i]) >= 0 {
			run = 0
		}
		if run > maxRun {
			return at(text, i, errRun)
		}
	}
	return nil
}

// at adds the position of an offset to an error.
func at(text string, offset int, err error) error {
	column := offset - strings.LastIndexByte(text[:offset], '\n')
	return fmt.Errorf(":%d:%d: %w", lineOf(text, offset), column, err)
}

// lineOf returns the number of the line at an offset, from 1.
func lineOf(text string, offset int) int { return 1 + strings.Count(text[:offset], "\n") }

// blank returns the length of the space, comment or literal at the start of text, or 0.
func blank(text string) int {
	end := ""
	switch {
	case strings.IndexByte(" \t\r\n\f\v", text[0]) >= 0:
		return 1
	case strings.HasPrefix(text, "//"):
		end = "\n"
	case strings.HasPrefix(text, "/*"):
		end = "*/"
	case text[0] == '"' || text[0] == '\'':
		return literal(text)
	default:
		return 0
	}
	if n := strings.Index(text[2:], end); n >= 0 {
		return 2 + n + len(end)
	}
	return len(text)
}

// literal returns the length of the string or character at the start of text, up to the end of the line.
func literal(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[0], '\n':
			return i + 1
		}
	}
	return len(text)
}
