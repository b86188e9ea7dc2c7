package srcline

import "strings"

var assignments = set("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")

// calls finds the calls of the line.
func (p *parser) calls() {
	for i := 0; i+1 < len(p.toks) && len(p.line.Calls) < maxParts; i++ {
		t := p.toks[i]
		if t.kind != word || keywords[t.text] || !p.toks[i+1].is("(") {
			continue
		}
		end := p.partner[i+1]
		call := Call{Name: t.text, Column: t.col, Open: end < 0}
		if end < 0 {
			end = len(p.toks)
		}
		call.Args = p.args(i+2, end)
		p.line.Calls = append(p.line.Calls, call)
	}
}

// args returns the arguments in toks[low:end].
func (p *parser) args(low, end int) []Arg {
	var all []Arg
	from := low
	for i := low; i <= end; i++ {
		if i < end && !p.toks[i].is(",") {
			if p.partner[i] > i {
				i = min(p.partner[i], end-1)
			}
			continue
		}
		if from < i {
			all = append(all, p.arg(from, i))
		}
		from = i + 1
	}
	return all
}

// arg reads the argument that is toks[low:end].
func (p *parser) arg(low, end int) Arg {
	a := Arg{Text: p.text[p.toks[low].col-1 : p.endOf(end-1)]}
	if e, begin, ok := p.prefixed(low, end, 0); ok && begin == low && e.Var != "" {
		a.Place, a.Named, a.Addr = e.Place, true, e.addr
		return a
	}
	// "e->args + n": an element of the array e->args.
	for i := low + 1; i < end; i++ {
		if p.partner[i] > i {
			i = p.partner[i]
			continue
		}
		if !p.toks[i].is("+") {
			continue
		}
		e, begin, ok := p.prefixed(low, i, 0)
		if ok && begin == low && e.Var != "" && !e.addr && len(e.Path) > 0 && len(e.Path) < maxSteps {
			e.Path = append(e.Path, Step{Index: -1})
			a.Place, a.Named = e.Place, true
		}
		break
	}
	return a
}

// endOf returns the offset of the byte after toks[i].
func (p *parser) endOf(i int) int { return p.toks[i].col - 1 + len(p.toks[i].text) }

// assigns finds the assignments of the line.
func (p *parser) assigns() {
	tried := 0
	for i, t := range p.toks {
		switch {
		case t.kind != operator || tried == maxParts:
		case assignments[t.text]:
			tried++
			if e, begin, ok := p.prefixed(0, i, 0); ok && !e.addr {
				p.assign(e, begin, i)
			}
		case t.text == "++" || t.text == "--":
			tried++
			e, _, ok := p.prefixed(0, i, 0)
			if !ok {
				e, ok = p.increment(i)
			}
			if ok && !e.addr && e.Var != "" {
				p.line.Assigns = append(p.line.Assigns, Assign{Place: e.Place, Op: t.text, Column: t.col, Start: t.col, End: t.col})
			}
		}
	}
}

// increment reads the operand of a ++ or -- that stands before it.
func (p *parser) increment(i int) (expr, bool) {
	end := i + 1
	for end < len(p.toks) {
		t := p.toks[end]
		switch {
		case p.partner[end] > end:
			end = p.partner[end] + 1
			continue
		case t.kind == word || t.is("->") || t.is(".") || t.is("*"):
			end++
			continue
		}
		break
	}
	e, begin, ok := p.prefixed(i+1, end, 0)
	return e, ok && begin == i+1
}

// assign adds the assignment to e, which begins at toks[begin], with the operator toks[op].
func (p *parser) assign(e expr, begin, op int) {
	a := Assign{Place: e.Place, Op: p.toks[op].text, Column: p.toks[op].col, Member: e.Var == ""}
	a.Start = p.endOf(op) + 1
	a.End = p.valueEnd(op+1) + 1
	if a.Declared = p.declared(begin); a.Declared.Name != "" {
		a.Place.Path = nil // "char buf[16] = ..."
	}
	p.line.Assigns = append(p.line.Assigns, a)
}

// valueEnd returns the offset of the end of the value that begins at toks[i].
func (p *parser) valueEnd(i int) int {
	for ; i < len(p.toks); i++ {
		t := p.toks[i]
		if p.partner[i] > i {
			i = p.partner[i]
			continue
		}
		if t.kind == operator && (strings.Contains(";,)]}", t.text)) {
			return t.col - 1
		}
	}
	return len(p.text)
}

// declared returns the type in the declaration of the variable toks[at].
func (p *parser) declared(at int) TypeName {
	i := at - 1
	pointer := false
	for ; i >= 0 && (p.toks[i].is("*") || p.toks[i].kind == word && qualifiers[p.toks[i].text]); i-- {
		pointer = pointer || p.toks[i].is("*")
	}
	if i < 0 || p.toks[i].kind != word || statements[p.toks[i].text] {
		return TypeName{}
	}
	tag := i > 0 && p.toks[i-1].kind == word && tags[p.toks[i-1].text]
	return TypeName{Name: p.toks[i].text, Tag: tag, Pointer: pointer}
}

// Declared returns the types that declarations and parameters in the line give to variables, by the variables' names.
func Declared(text string) map[string]TypeName {
	var found map[string]TypeName
	p := newParser(text)
	defer p.free()
	for i, t := range p.toks {
		if t.kind != word || i+1 < len(p.toks) && !ends[p.toks[i+1].text] {
			continue
		}
		d := p.declared(i)
		if _, known := found[t.text]; known || d.Name == "" || keywords[d.Name] && !scalars[d.Name] {
			continue
		}
		if found == nil {
			found = map[string]TypeName{}
		}
		found[t.text] = d
	}
	return found
}

// ends are the tokens after the name of a variable in its declaration.
var ends = set("=", ";", ",", ")", "[")

// types finds the types that the line names: after "struct", in sizeof, in casts and in declarations.
func (p *parser) types() {
	for i, t := range p.toks {
		switch {
		case t.kind == word && tags[t.text] && i+1 < len(p.toks) && p.toks[i+1].kind == word:
			p.addType(i + 1)
		case t.is("sizeof") && i+2 < len(p.toks) && p.toks[i+1].is("(") && p.partner[i+1] == i+3:
			p.addType(i + 2)
		case t.is("(") && (i == 0 || !p.isCallee(i-1)):
			if _, ok := p.typeIn(i, p.partner[i]); ok {
				p.addType(p.lastWord(i+1, p.partner[i]))
			}
		}
	}
	for _, a := range p.line.Assigns {
		p.add(TypeName{Name: a.Declared.Name, Tag: a.Declared.Tag})
	}
}

// lastWord returns where the name of the type toks[low:end] is; -1 if it has none.
func (p *parser) lastWord(low, end int) int {
	for i := end - 1; i >= low; i-- {
		if t := p.toks[i]; t.kind == word && !qualifiers[t.text] {
			return i
		}
	}
	return -1
}

// addType adds the type whose name is toks[i].
func (p *parser) addType(i int) {
	if i >= 0 {
		tag := i > 0 && p.toks[i-1].kind == word && tags[p.toks[i-1].text]
		p.add(TypeName{Name: p.toks[i].text, Tag: tag, Value: p.inValue(i)})
	}
}

// inValue reports whether toks[i] is in the value of an assignment, other than as the type of a compound literal that is
// all of it.
func (p *parser) inValue(i int) bool {
	for _, a := range p.line.Assigns {
		if col := p.toks[i].col; col < a.Start || col >= a.End {
			continue
		}
		if end := i + 1; end+1 < len(p.toks) && p.toks[end].is(")") && p.toks[end+1].is("{") {
			if from := p.partner[end]; from > 0 && p.endOf(from-1)+1 == a.Start {
				continue
			}
		}
		return true
	}
	return false
}

func (p *parser) add(t TypeName) {
	if t.Name == "" || keywords[t.Name] || !isLetter(t.Name[0]) || len(p.line.Types) == maxParts {
		return
	}
	for i, known := range p.line.Types {
		if known.Name == t.Name && known.Tag == t.Tag {
			p.line.Types[i].Value = known.Value && t.Value
			return
		}
	}
	p.line.Types = append(p.line.Types, t)
}
