package reconstruct

import (
	"github.com/rbtool/rbtool/internal/recordflow"
)

// rivals reports whether lines give two sites different members at one place, or each writes a struct that the other
// does not write, and both store different constants at another place: their records are of different kinds, and can be told
// apart. The structs can be members of a union.
func (e *evidence) rivals(o *evidence) bool {
	apart, unlike := false, false
	for off, c := range e.constants() {
		d := o.constants()[off]
		apart = apart || c != nil && d != nil && c.Size == d.Size && c.Const != d.Const
	}
	for off, a := range e.firsts() {
		b := o.firsts()[off]
		unlike = unlike || b != nil && a.differs(b)
	}
	return apart && (unlike || e.hasOwn(o) && o.hasOwn(e))
}

// hasOwn reports whether e writes a part of a struct in the record of which o writes nothing.
func (e *evidence) hasOwn(o *evidence) bool {
	written := map[string]bool{}
	for _, w := range o.firsts() {
		written[w.path[0].Member] = true
	}
	for _, w := range e.firsts() {
		if len(w.path) > 1 && w.path[1].Member != "" && !written[w.path[0].Member] {
			return true
		}
	}
	return false
}

// constants returns the only write at each offset; nil where there are several, or where it stores no constant.
func (e *evidence) constants() map[int64]*recordflow.Write {
	if e.only == nil {
		e.only = map[int64]*recordflow.Write{}
		for i := range e.site.Writes[:min(len(e.site.Writes), maxFields)] {
			w := &e.site.Writes[i]
			only := w
			if _, several := e.only[w.Off]; several || !w.Constant || w.Off < 0 {
				only = nil
			}
			e.only[w.Off] = only
		}
	}
	return e.only
}

// firsts returns the first named write at each offset whose line is not that of another member.
func (e *evidence) firsts() map[int64]*namedWrite {
	if e.first == nil {
		e.first = map[int64]*namedWrite{}
		for i := range e.writes {
			if w := &e.writes[i]; e.first[w.Off] == nil && !w.doubtful && !w.follows {
				e.first[w.Off] = w
			}
		}
	}
	return e.first
}

// differs reports whether two writes are to different members of one struct, or of different structs in it if both are
// known to be in the record.
func (w *namedWrite) differs(o *namedWrite) bool {
	n := 0
	for n < len(w.path) && n < len(o.path) && w.path[n] == o.path[n] {
		n++
	}
	if n == len(w.path) || n == len(o.path) || w.path[n].Member == "" || o.path[n].Member == "" {
		return false
	}
	return n == len(w.path)-1 && n == len(o.path)-1 || w.sure && o.sure
}
