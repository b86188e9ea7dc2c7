package reconstruct

import (
	"slices"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// joined returns the write with the path of the member that it writes, if only the line that computed the value names it:
// the compiler made the store of those of several paths, which has no line of its own, or it kept the value on the stack
// for a while, with any line. Values are computed for other variables as well: of a store of several paths, only a
// member of a variable through which other lines write the record is believed.
func (n *namer) joined(w *recordflow.Write, vars []variable, follows bool) (namedWrite, bool) {
	of := n.line(w.Line).AssignAt(w.Line.Column)
	kept := w.Moved && of == nil
	paths := w.Joined && (w.Line == (recordflow.Line{}) || follows && of != nil && w.Size > 1)
	if !kept && !paths || w.By != "" || w.Constant {
		return namedWrite{}, false
	}
	moved := *w
	moved.Line = w.Computed
	l := n.line(moved.Line)
	assign := l.ValueAt(moved.Line.Column)
	if assign == nil {
		assign = l.AssignAt(moved.Line.Column)
	}
	if assign == nil || assign.Op != "=" {
		return namedWrite{}, false
	}
	found := namedWrite{Write: &moved, assign: assign, copied: kept}
	return n.named(&found, &assign.Place, vars)
}

// believes reports whether other lines write the record through the variable of a joined write.
func (e *evidence) believes(w namedWrite) bool {
	return w.sure || w.copied || slices.ContainsFunc(e.writes, func(o namedWrite) bool { return o.base == w.base })
}
