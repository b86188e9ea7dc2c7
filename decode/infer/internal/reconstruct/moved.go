package reconstruct

import (
	"slices"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// move is what a store that copies a value from the stack into the record says of it.
type move struct {
	named bool           // the store names the member itself: e->pid = k.pid
	to    []srcline.Step // the member that the copy is a part of; none if it is all of the record
	from  srcline.Place  // what is copied: k in "e->key = k"
}

// moves returns the moves of a site by the offset of each byte. Only sites with writes to the stack have some.
func (n *namer) moves(s *recordflow.Site) map[int64]move {
	if !slices.ContainsFunc(s.Writes, func(w recordflow.Write) bool { return w.Moved }) {
		return nil
	}
	all := map[int64]move{}
	for i := range s.Writes[:min(len(s.Writes), maxFields)] {
		w := &s.Writes[i]
		if w.Moved || w.By != "" || w.Off < 0 || w.Size > 8 {
			continue
		}
		if m, ok := n.move(w.Line); ok {
			for at := range w.Size {
				all[w.Off+at] = m
			}
		}
	}
	return all
}

// move reads the line of a store.
func (n *namer) move(line recordflow.Line) (m move, ok bool) {
	l := n.line(line)
	if a := l.AssignAt(line.Column); a != nil {
		return move{named: true}, len(a.Place.Path) > 0
	}
	if a := l.ValueAt(line.Column); a != nil {
		from, ok := srcline.ReadAt(line.Text, line.Column)
		return move{to: a.Place.Path, from: from}, ok
	}
	c := l.CallAt(line.Column)
	if c == nil || len(c.Args) < 2 || !c.Args[0].Named || !c.Args[1].Named {
		return move{}, false
	}
	return move{to: c.Args[0].Place.Path, from: c.Args[1].Place}, true
}

// apply gives a write to the stack the path of the member into which it is copied.
func (m move) apply(w *namedWrite) {
	from := m.from.Path
	if w.base == m.from.Var && len(w.path) >= len(from) && slices.Equal(w.path[:len(from)], from) {
		w.path, w.sure = slices.Concat(m.to, w.path[len(from):]), true
	}
}
