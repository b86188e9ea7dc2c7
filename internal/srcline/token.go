package srcline

import "strings"

type kind uint8

const (
	word     kind = iota // an identifier or keyword
	number               // digits and what follows them
	literal              // a string or character constant
	operator             // anything else
)

type token struct {
	kind kind
	text string
	col  int // in bytes, from 1
}

func (t token) is(text string) bool { return t.kind != literal && t.text == text }

// operators are the operators of several characters, the longest first.
var operators = []string{
	"<<=", ">>=", "...",
	"->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||",
	"+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
}

// operatorAt returns the length of the operator that text begins with.
func operatorAt(text string) int {
	if len(text) > 1 && strings.IndexByte(">+-<=&|.", text[1]) >= 0 { // the second character of each
		for _, op := range operators {
			if strings.HasPrefix(text, op) {
				return len(op)
			}
		}
	}
	return 1
}

// appendTokens splits text, without its comments, and appends the tokens to all. A string or comment that the text does not
// end reaches to its end.
func appendTokens(all []token, text string) []token {
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		t := token{kind: operator, col: i + 1}
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\\':
			i++
			continue
		case strings.HasPrefix(rest, "//"):
			return all
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return all
			}
			i += 2 + end + 2
			continue
		case isLetter(c):
			t.kind, n = word, span(rest)
		case isDigit(c):
			t.kind, n = number, span(rest)
		case c == '"' || c == '\'':
			t.kind, n = literal, quoted(rest)
		default:
			n = operatorAt(rest)
		}
		t.text = rest[:n]
		all = append(all, t)
		i += n
	}
	return all
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '$'
}

// span returns the length of the word or number that text begins with.
func span(text string) int {
	n := 1
	for n < len(text) && (isLetter(text[n]) || isDigit(text[n])) {
		n++
	}
	return n
}

// quoted returns the length of the constant in quotes that text begins with.
func quoted(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[0]:
			return i + 1
		}
	}
	return len(text)
}

// pair finds the partners of the brackets.
func (p *parser) pair() {
	p.partner, p.open = p.partner[:0], p.open[:0]
	for i, t := range p.toks {
		p.partner = append(p.partner, -1)
		if t.kind != operator {
			continue
		}
		switch t.text {
		case "(", "[", "{":
			p.open = append(p.open, i)
		case ")", "]", "}":
			n := len(p.open) - 1
			if n < 0 {
				continue // opened on an earlier line
			}
			if from := p.open[n]; closes(p.toks[from].text[0], t.text[0]) {
				p.partner[from], p.partner[i] = i, from
				p.open = p.open[:n]
			}
		}
	}
}

// closes reports whether a bracket is the partner of the one that opens.
func closes(open, end byte) bool {
	return open == '(' && end == ')' || open == '[' && end == ']' || open == '{' && end == '}'
}
