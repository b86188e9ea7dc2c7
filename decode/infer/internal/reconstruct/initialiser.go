package reconstruct

import (
	"regexp"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// maxInitialiser is how many lines of an initialiser are believed.
const maxInitialiser = 64

// condition matches values that depend on others, which members after it can have as they are: the compiler gives these
// the line of the first. It matches nested initialisers as well.
var condition = regexp.MustCompile(`[?!{]|[=!<>]=|&&|\|\||[^<>-][<>][^<>]`)

// initialised returns the write with the path of the member that it initialises: its line l is where the initialiser
// of the record begins, as in "struct event e = {", and the line that computed its value names the member, as in
// ".pid = f(),".
func (n *namer) initialised(w *recordflow.Write, l *srcline.Line, vars []variable) (namedWrite, bool) {
	whole, from := l.ValueAt(w.Line.Column), w.Computed
	if whole == nil || w.By != "" || w.Size <= 0 || from.File != w.Line.File || whole.End > len(w.Line.Text)+1 {
		return namedWrite{}, false
	}
	value := w.Line.Text[whole.Start-1 : whole.End-1]
	goesOn := strings.Count(value, "{") > strings.Count(value, "}")
	after := from.Number - w.Line.Number
	if after < 0 || after > maxInitialiser || !strings.Contains(value, "{") || after > 0 && !goesOn {
		return namedWrite{}, false
	}
	member := n.memberAt(from)
	if member == nil || condition.MatchString(from.Text[member.Start-1:min(member.End-1, len(from.Text))]) {
		return namedWrite{}, false
	}
	moved := *w
	moved.Line = from
	found := namedWrite{Write: &moved, assign: member}
	place := whole.Place
	place.Path = slices.Concat(place.Path, member.Place.Path)
	named, ok := n.named(&found, &place, vars)
	if ok = ok && named.sure; ok {
		named.split()
	}
	return named, ok
}

// memberAt returns the only initialiser of a member in whose value the column of the line is, or nil.
func (n *namer) memberAt(line recordflow.Line) (found *srcline.Assign) {
	l := n.line(line)
	for i := range l.Assigns {
		a := &l.Assigns[i]
		if !a.Member || line.Column < a.Start || line.Column >= a.End {
			continue
		}
		if found != nil {
			return nil
		}
		found = a
	}
	return found
}
