package infer

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// line is a source line of a program, and the function that has it.
type line struct {
	fn, text, file string
	number         int
}

// linesOf returns the source lines of instructions, each once.
func linesOf(insns asm.Instructions) (lines []line) {
	seen := map[line]bool{}
	var l line
	for i := range insns {
		if fn := btf.FuncMetadata(&insns[i]); fn != nil {
			l.fn = fn.Name
		}
		if src, ok := insns[i].Source().(*btf.Line); ok {
			if l.text, l.file, l.number = src.Line(), src.FileName(), int(src.LineNumber()); !seen[l] {
				seen[l] = true
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// function is a function of a program.
type function struct {
	lines    []line                   // its source lines, each once
	declares map[string][]declaration // by variable; nil until the lines have been read
}

// declaration is a line that gives a variable a type.
type declaration struct {
	line line
	typ  srcline.TypeName
}

// function returns the function called name.
func (p *program) function(name string) *function {
	if p.functions == nil {
		p.functions = map[string]*function{}
		for _, l := range p.lines {
			if p.functions[l.fn] == nil {
				p.functions[l.fn] = &function{}
			}
			fn := p.functions[l.fn]
			fn.lines = append(fn.lines, l)
		}
	}
	if fn := p.functions[name]; fn != nil {
		return fn
	}
	return &function{}
}

// texts returns the source lines without their places.
func (f *function) texts() (texts []string) {
	for _, l := range f.lines {
		texts = append(texts, l.text)
	}
	return texts
}

// declarations returns the declarations of a variable.
func (f *function) declarations(variable string) []declaration {
	if f.declares == nil {
		f.declares = map[string][]declaration{}
		for _, l := range f.lines {
			for v, t := range srcline.Declared(l.text) {
				f.declares[v] = append(f.declares[v], declaration{l, t})
			}
		}
	}
	return f.declares[variable]
}

// inLines returns the types that source lines give to the records: the line of the call, lines that write a
// record from its start, and the declaration of the variable that is the record or points to it.
func (p *program) inLines(s *Site) (claims []claim) {
	for _, t := range srcline.Parse(s.flow.Line.Text).Types {
		claims = append(claims, p.says(s, t, "its source line")...)
	}
	read := map[string]bool{s.flow.Line.Text: true}
	for _, w := range s.flow.Writes {
		if text := w.Line.Text; w.Off == 0 && !read[text] {
			read[text] = true
			for _, t := range srcline.Parse(text).Types {
				if !t.Value { // "e->id = ((struct key *)k)->id" writes no key
					claims = append(claims, doubtful(s.whole(p.called(s, t, "the source line of a write names "+t.Name)))...)
				}
			}
		}
	}
	return append(claims, p.declared(s)...)
}

// doubtful returns the claims as such that only the names of members make certain.
func doubtful(claims []claim) []claim {
	for i := range claims {
		claims[i].doubtful = true
	}
	return claims
}

// whole returns the claims of types that have the size of the records.
func (s *Site) whole(claims []claim) (found []claim) {
	for _, c := range claims {
		if s.relate(c.typ, false) == wholeFit {
			found = append(found, c)
		}
	}
	return found
}

// says returns the types of the name that a line says. If no source has it, it notes that. A type of the name that is
// shorter than records of a constant size is another one, unless the line adds to its size.
func (p *program) says(s *Site, t srcline.TypeName, who string) (found []claim) {
	for _, c := range p.called(s, t, fmt.Sprintf("%s names %s", who, t.Name)) {
		shorter := s.relate(c.typ, false) == headerFit
		if !shorter || !c.foreign && (s.Size < 0 || strings.Contains(s.flow.Line.Text, "+")) {
			found = append(found, c)
		}
	}
	if len(found) == 0 && t.Tag && s.lacks == "" {
		s.lacks, s.absent = t.Name, fmt.Sprintf("%s names struct %s, which the BTF in the kernel lacks", who, t.Name)
	}
	return found
}

// copied are the numbers of the arguments that point to what a helper copies into the ring, or out of it.
var copied = map[string]int{recordflow.Output: 1, "bpf_dynptr_read": 0}

// variable returns the name of the variable that is the record of s or points to it, as its source line has it; "" if
// it has none.
func (s *Site) variable() string {
	line := srcline.Parse(s.flow.Line.Text)
	call := line.Call(s.flow.Call)
	if call == nil {
		return ""
	}
	var place srcline.Place
	arg, copies := copied[s.flow.Call]
	if result := line.Result(call); !copies && result != nil {
		place = result.Place
	} else if copies && arg < len(call.Args) && call.Args[arg].Named {
		place = call.Args[arg].Place
	}
	if len(place.Path) > 0 {
		return ""
	}
	return place.Var
}

// local returns the types that DWARF has for the variable that is the record or points to it.
func (p *program) local(s *Site) (claims []claim) {
	name := s.variable()
	for _, src := range p.sources {
		if src.local == nil || name == "" {
			continue
		}
		if t, ok := src.local(s.flow.Func, name); ok {
			claims = append(claims, claim{
				typ: t, why: fmt.Sprintf("it is %s in its source line, whose type %s says", name, src.why), foreign: !src.same,
			})
		}
	}
	return claims
}

// called returns the types that sources call so. A type of a source that can be another object's is not the
// program's if lines name a member that it lacks. It is if they leave no doubt, or the source is
// the program's, and no other source has a type of the name and the size of the records.
func (p *program) called(s *Site, name srcline.TypeName, why string) (claims []claim) {
	var fitting []btf.Type
	var sure []bool
	for _, src := range p.sources {
		foreign := !src.same || src.local != nil
		for _, t := range src.named(name.Name, name.Tag) {
			a := s.agree(t)
			if foreign && a.unlike > 0 {
				continue
			}
			claims, sure = append(claims, claim{typ: t, why: why, foreign: foreign, guessed: src.guessed}), append(sure, src.same || a.confirms())
			if s.relate(t, false) == wholeFit && !contains(fitting, t) {
				fitting = append(fitting, t)
			}
		}
	}
	for i := range claims {
		if len(fitting) == 1 && sure[i] {
			claims[i].foreign = false
		}
	}
	return claims
}
