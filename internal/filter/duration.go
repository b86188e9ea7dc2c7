package filter

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/rbtool/rbtool/decode"
)

// units are the units of durations, in nanoseconds.
var units = map[string]int64{"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}

// durations replaces the durations in source, such as 1.5ms and 1m30s, by zeros, and notes their values in
// nanoseconds in s.
func (s *syntax) durations(source []rune) error {
	for i := 0; i < len(source); {
		c := source[i]
		switch {
		case strings.ContainsRune("\"'`", c):
			i = afterString(source, i)
		case c == '/' && i+1 < len(source) && (source[i+1] == '/' || source[i+1] == '*'):
			i = afterComment(source, i)
		case isDigit(c):
			end, value, err := duration(source[i:])
			if err != nil {
				return err
			}
			if value != nil {
				s.large[i], s.timed[i] = value, 1
				for j := range end {
					source[i+j] = '0'
				}
			}
			i += end
		case isLetter(c):
			for i < len(source) && (isLetter(source[i]) || isDigit(source[i])) {
				i++
			}
		default:
			i++
		}
	}
	return nil
}

func isDigit(c rune) bool { return c >= '0' && c <= '9' }
func isLetter(c rune) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c > 0x7f
}

// afterString returns the index after the string that starts at i.
func afterString(source []rune, i int) int {
	quote := source[i]
	for i++; i < len(source) && source[i] != quote; i++ {
		if source[i] == '\\' && quote != '`' {
			i++
		}
	}
	return min(i+1, len(source))
}

// afterComment returns the index after the comment that starts at i.
func afterComment(source []rune, i int) int {
	line := source[i+1] == '/'
	for i += 2; i < len(source); i++ {
		if line && source[i] == '\n' || !line && source[i] == '/' && source[i-1] == '*' {
			return i + 1
		}
	}
	return i
}

// duration parses the number or duration at the start of text. It returns its length in characters, and the value
// of a duration in nanoseconds, or nil for a number.
func duration(text []rune) (length int, value *big.Int, err error) {
	end := 0
	for end < len(text) && (isDigit(text[end]) || isLetter(text[end]) || decimalPoint(text, end)) {
		end++
	}
	sum := new(big.Rat)
	for at := 0; at < end; {
		number := at
		for at < end && (isDigit(text[at]) || text[at] == '_' || text[at] == '.') {
			at++
		}
		unit := at
		for at < end && isLetter(text[at]) && text[at] != '_' {
			at++
		}
		scale, ok := units[string(text[unit:at])]
		n, okNumber := new(big.Rat).SetString(strings.ReplaceAll(string(text[number:unit]), "_", ""))
		if !ok || !okNumber || unit-number > maxDigits {
			return end, nil, nil
		}
		sum.Add(sum, n.Mul(n, new(big.Rat).SetInt64(scale)))
	}
	if !sum.IsInt() {
		return end, nil, fmt.Errorf("%s is not a whole number of nanoseconds", string(text[:end]))
	}
	return end, sum.Num(), nil
}

// maxDigits bounds the digits of a number in a duration.
const maxDigits = 30

// decimalPoint reports whether the character at i is the point of a number: a digit follows it.
func decimalPoint(text []rune, i int) bool {
	return i > 0 && text[i] == '.' && i+1 < len(text) && isDigit(text[i+1]) && isDigit(text[i-1])
}

// scaler notes the units of durations that are compared with a field that counts microseconds or milliseconds.
type scaler struct{ *syntax }

// Visit handles a comparison.
func (s scaler) Visit(node *ast.Node) {
	if n, ok := (*node).(*ast.BinaryNode); ok && compares(n.Operator) {
		s.scale(n.Left, n.Right)
		s.scale(n.Right, n.Left)
	}
}

// scale notes the unit of field for the durations in other.
func (s scaler) scale(field, other ast.Node) {
	unit, ok := map[decode.Meaning]int{decode.Microseconds: 1e3, decode.Milliseconds: 1e6}[s.meanings[pathOf(field)]]
	if !ok {
		return
	}
	ast.Find(other, func(n ast.Node) bool {
		if literal, ok := n.(*ast.IntegerNode); ok && s.timed[literal.Location().From] > 0 {
			s.timed[literal.Location().From] = unit
		}
		return false
	})
}
