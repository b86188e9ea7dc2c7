package srcline

import (
	"strconv"
	"strings"
	"sync"
)

type parser struct {
	text    string
	toks    []token
	partner []int // of each token: the index of the other bracket, -1 for all else
	open    []int // brackets without a partner yet
	line    *Line
}

// parsers has parsers whose memory can be used again.
var parsers = sync.Pool{New: func() any { return &parser{} }}

// newParser returns a parser of text. The caller must call free.
func newParser(text string) *parser {
	if len(text) > MaxLen {
		text = text[:MaxLen]
	}
	p := parsers.Get().(*parser)
	p.text, p.line = text, &Line{}
	p.toks = appendTokens(p.toks[:0], text)
	p.pair()
	return p
}

// free ends the use of p.
func (p *parser) free() {
	clear(p.toks)
	p.text, p.line = "", nil
	parsers.Put(p)
}

// ReadAt returns the place whose last member or variable is named at the column: the compiler gives the load of a
// member the column of the member's name.
func ReadAt(text string, column int) (Place, bool) {
	p := newParser(text)
	defer p.free()
	for i, t := range p.toks {
		if t.col != column || t.kind != word {
			continue
		}
		for i+1 < len(p.toks) && p.toks[i+1].is("[") && p.partner[i+1] > i {
			i = p.partner[i+1]
		}
		e, _, ok := p.place(0, i+1, 0)
		return e.Place, ok && e.Var != ""
	}
	return Place{}, false
}

// maxSteps bounds the length of a path and the depth of parentheses in it.
const maxSteps = 16

// expr is an expression that names a place or its address.
type expr struct {
	Place
	addr bool
	// as is the type that a cast makes of a pointer: it is that of the place once the pointer is dereferenced.
	as string
}

func (s Step) index() string {
	if s.Index < 0 {
		return "[]"
	}
	return "[" + strconv.FormatInt(s.Index, 10) + "]"
}

// place reads backwards the expression that ends before toks[end] and begins at toks[low] or later. It returns
// where the expression begins.
func (p *parser) place(low, end, depth int) (e expr, begin int, ok bool) {
	var steps []Step // the last one first
	i := end - 1
	for ; i >= low && p.toks[i].is("]"); i-- {
		from := p.partner[i]
		if from < low || len(steps) == maxSteps {
			return expr{}, 0, false
		}
		steps = append(steps, Step{Index: p.constant(from+1, i)})
		i = from
	}
	if i < low || depth == maxSteps {
		return expr{}, 0, false
	}
	switch t := p.toks[i]; {
	case t.kind == word && !keywords[t.text]:
		if i-1 >= low && (p.toks[i-1].is("->") || p.toks[i-1].is(".")) {
			e, begin, ok = p.member(low, i, depth)
		} else {
			e, begin, ok = expr{Place: Place{Var: t.text}}, i, true
		}
	case t.is(")"):
		from := p.partner[i]
		if from < low || from > low && p.isCallee(from-1) {
			return expr{}, 0, false
		}
		inner, at, good := p.prefixed(from+1, i, depth+1)
		e, begin, ok = inner, from, good && at == from+1
	}
	if !ok || len(e.Path)+len(steps) > maxSteps {
		return expr{}, 0, false
	}
	for j := len(steps) - 1; j >= 0; j-- {
		if e.addr {
			return expr{}, 0, false
		}
		e.Path = append(e.Path, steps[j])
	}
	return e, begin, true
}

// member reads the expression whose last token is the member toks[i].
func (p *parser) member(low, i, depth int) (expr, int, bool) {
	step := Step{Member: p.toks[i].text}
	arrow := p.toks[i-1].is("->")
	if !arrow && (i-1 == low || p.toks[i-2].is("{") || p.toks[i-2].is(",")) {
		return expr{Place: Place{Path: []Step{step}}}, i - 1, true // a designated initialiser
	}
	e, begin, ok := p.place(low, i-1, depth+1)
	switch {
	case !ok:
	case arrow && e.addr: // (&e)->x
		e.addr = false
	case arrow:
		e = e.pointer()
		e.Deref = true
	case e.addr:
		ok = false
	}
	if !ok || len(e.Path) == maxSteps {
		return expr{}, 0, false
	}
	e.Path = append(e.Path, step)
	e.as = ""
	return e, begin, true
}

// pointer returns the expression as a variable: the pointer e->next of "e->next->x" is the variable "e->next".
func (e expr) pointer() expr {
	if len(e.Path) == 0 && !e.Deref {
		return e
	}
	return expr{Place: Place{Var: e.Place.String()}, as: e.as}
}

// prefixed reads backwards an expression and the casts and operators & and * before it.
func (p *parser) prefixed(low, end, depth int) (expr, int, bool) {
	e, begin, ok := p.place(low, end, depth)
	for ok && begin > low {
		switch t := p.toks[begin-1]; {
		case t.is("&") && p.isUnary(begin-1, low):
			if e.addr {
				return expr{}, 0, false
			}
			e.addr, e.as = true, ""
			begin--
		case t.is("*") && p.isUnary(begin-1, low):
			e = e.deref()
			begin--
		case t.is(")"):
			from := p.partner[begin-1]
			name, isType := p.typeIn(from, begin-1)
			if from < low || !isType {
				return e, begin, true
			}
			e.as, begin = name, from
		default:
			return e, begin, true
		}
	}
	return e, begin, ok
}

// deref returns what the expression points to.
func (e expr) deref() expr {
	switch {
	case e.addr:
		e.addr = false
		e.As = strings.TrimSpace(strings.TrimSuffix(e.as, "*"))
	default:
		e = e.pointer()
		e.Deref = true
		e.As = strings.TrimSpace(strings.TrimSuffix(e.as, "*"))
	}
	e.as = ""
	return e
}

// isUnary reports whether the operator & or * at toks[i] has no left operand.
func (p *parser) isUnary(i, low int) bool {
	if i == low {
		return true
	}
	t := p.toks[i-1]
	switch {
	case t.kind == word:
		return statements[t.text]
	case t.is(")"):
		_, isType := p.typeIn(p.partner[i-1], i-1)
		return isType || p.isCondition(i-1)
	}
	return t.kind == operator && t.text != "]"
}

// isCondition reports whether the parenthesis that toks[i] closes is that of an if, while or for.
func (p *parser) isCondition(i int) bool {
	from := p.partner[i]
	return from > 0 && statements[p.toks[from-1].text] || from < 0
}

// isCallee reports whether toks[i], before a parenthesis, is the name of a function or macro.
func (p *parser) isCallee(i int) bool {
	t := p.toks[i]
	if t.is(")") {
		_, isType := p.typeIn(p.partner[i], i)
		return !isType && !p.isCondition(i)
	}
	return t.kind == word && !statements[t.text] || t.is("]")
}

// typeIn returns the text of the type between the parentheses toks[from] and toks[to].
func (p *parser) typeIn(from, to int) (string, bool) {
	if from < 0 || to-from < 2 || !p.toks[from].is("(") {
		return "", false
	}
	words, stars := 0, 0
	var parts []string
	for _, t := range p.toks[from+1 : to] {
		switch {
		case t.is("*"):
			stars++
		case t.kind == word && stars == 0 || qualifiers[t.text]:
			words++
		default:
			return "", false
		}
		parts = append(parts, t.text)
	}
	first := p.toks[from+1].text
	isType := words > 0 && (stars > 0 || words > 1 || scalars[first])
	return strings.Join(parts, " "), isType
}

// constant returns the number that is all of toks[low:end], or -1.
func (p *parser) constant(low, end int) int64 {
	if end-low != 1 || p.toks[low].kind != number {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimRight(p.toks[low].text, "uUlL"), 0, 32)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

func set(words ...string) map[string]bool {
	m := map[string]bool{}
	for _, w := range words {
		m[w] = true
	}
	return m
}

var (
	// statements are words after which an expression begins.
	statements = set("return", "else", "do", "if", "while", "for", "switch", "case", "goto")
	// qualifiers stand in types.
	qualifiers = set("const", "volatile", "restrict", "__restrict", "static", "register", "unsigned", "signed")
	tags       = set("struct", "union", "enum")
	// scalars are types of one word that stand in casts without a *.
	scalars = set("void", "char", "short", "int", "long", "float", "double", "bool", "_Bool", "unsigned", "signed",
		"size_t", "ssize_t", "uintptr_t", "intptr_t", "pid_t", "uid_t", "gid_t",
		"u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64",
		"__u8", "__u16", "__u32", "__u64", "__s8", "__s16", "__s32", "__s64",
		"__be16", "__be32", "__be64", "__le16", "__le32", "__le64",
		"uint8_t", "uint16_t", "uint32_t", "uint64_t", "int8_t", "int16_t", "int32_t", "int64_t")
	// keywords are words that name neither a variable nor a function.
	keywords = func() map[string]bool {
		m := set("sizeof", "break", "continue", "default", "typedef", "extern", "inline", "offsetof", "typeof", "__typeof__")
		for _, group := range []map[string]bool{statements, qualifiers, tags, scalars} {
			for w := range group {
				m[w] = true
			}
		}
		return m
	}()
)
