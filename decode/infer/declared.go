package infer

import (
	"slices"
	"strings"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// declared returns the type in the declaration of the variable that is the record or points to it. Functions that the
// compiler put into this one can have other variables of the name: if the lines declare several types, it is
// none of them, and a declaration elsewhere than between the start of the function and the call is doubtful.
func (p *program) declared(s *Site) (claims []claim) {
	name := s.variable()
	if name == "" {
		return nil
	}
	_, copies := copied[s.flow.Call]
	fn, near := p.function(s.flow.Func), true
	var types []srcline.TypeName
	for _, d := range fn.declarations(name) {
		if d.line.text == s.flow.Line.Text {
			return nil // the line of the call says it
		}
		if !copies && fetched(d.line.text, name) {
			continue
		}
		near = near && inside(d.line, s.flow.Line, fn.lines[0].number)
		if t := (srcline.TypeName{Name: d.typ.Name, Tag: d.typ.Tag}); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	if len(types) != 1 {
		return nil
	}
	if claims = s.whole(p.says(s, types[0], "the declaration of "+name)); !near {
		return doubtful(claims)
	}
	return claims
}

// inside reports whether l is between the line that the function begins with and the line of a call.
func inside(l line, call recordflow.Line, first int) bool {
	return l.file == call.File && first <= l.number && l.number <= call.Number
}

// fetched reports that the line sets the variable to what a helper returns, as "e = bpf_map_lookup_elem(&m, &k)" does.
// It is not that which points to a reserved record.
func fetched(text, variable string) bool {
	l := srcline.Parse(text)
	return slices.ContainsFunc(l.Calls, func(c srcline.Call) bool {
		a := l.Result(&c)
		return a != nil && a.Place.Var == variable && strings.HasPrefix(c.Name, "bpf_")
	})
}
