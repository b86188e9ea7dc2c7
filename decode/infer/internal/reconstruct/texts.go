package reconstruct

import (
	"slices"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// span is bytes of the record.
type span struct{ lo, hi int64 }

// maxTexts is how many strings without a name are shown.
const maxTexts = 64

// addTextSpans adds members without names for the strings that helpers write where no line names a member, in a record
// of size bytes: a string can be read without a name. Those that overlap another write are left out.
func (l *layout) addTextSpans(size int64) {
	texts := l.texts()
	if len(texts) == 0 {
		return
	}
	gaps := l.gaps(size)
	for lo, hi := range texts {
		n := slices.IndexFunc(gaps, func(g span) bool { return g.lo <= lo && hi <= g.hi })
		if n < 0 {
			continue
		}
		if n, room := hi-lo, hi < gaps[n].hi; room && n&(n+1) == 0 && n > 8 {
			hi++ // programs often mask a length by one less than the size of a buffer
		}
		if l.overlaps(lo, hi) {
			continue
		}
		path := []srcline.Step{{Member: placeName(lo)}}
		l.items = append(l.items, &item{path: path, off: lo, size: hi - lo, text: true, whole: true, told: true})
	}
	l.sort()
}

// texts returns the ends of the strings that helpers write, by offset.
func (l *layout) texts() map[int64]int64 {
	texts := map[int64]int64{}
	for _, e := range l.sites {
		for i := range e.site.Writes[:min(len(e.site.Writes), maxFields)] {
			w := namedWrite{Write: &e.site.Writes[i]}
			if !isText(w.By) || w.isOpen() || w.Off < 0 || w.Off > maxRecord || w.length() <= 0 || w.length() > maxRecord {
				continue
			}
			if _, known := texts[w.Off]; known || len(texts) < maxTexts {
				texts[w.Off] = max(texts[w.Off], w.Off+w.length())
			}
		}
	}
	return texts
}

// overlaps reports whether another write than that of a string at lo writes something else than zeros between lo and hi.
func (l *layout) overlaps(lo, hi int64) bool {
	for _, e := range l.sites {
		for i := range e.site.Writes[:min(len(e.site.Writes), maxFields)] {
			w := namedWrite{Write: &e.site.Writes[i]}
			zero := w.Constant && w.Const == 0 && w.By == ""
			if w.Off >= 0 && w.Off < hi && w.Off+w.length() > lo && !zero && (w.Off != lo || !isText(w.By)) {
				return true
			}
		}
	}
	return false
}

// hasTexts reports whether helpers write strings into records of one size.
func (e *evidence) hasTexts() bool {
	return e.site.Min == e.site.Max && slices.ContainsFunc(e.site.Writes, func(w recordflow.Write) bool { return w.Off >= 0 && isText(w.By) })
}
