package infer

import (
	"maps"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer/internal/reconstruct"
)

// addLocals adds the meanings of numbers that the program keeps in local variables before it writes them into the
// record: the lines that set the variable tell.
func (s *Site) addLocals() {
	added, p := map[int]decode.Meaning{}, s.program
	if p.locals == nil {
		p.locals = reconstruct.NewLocals(func(fn string) []string { return p.function(fn).texts() })
	}
	for i := range s.flow.Writes {
		w := &s.flow.Writes[i]
		off := int(w.Off)
		if w.Off < 0 || s.meanings[off] != decode.NoMeaning {
			continue
		}
		m := p.locals.Meaning(w)
		if old, ok := added[off]; ok && old != m {
			m = decode.NoMeaning // paths of the program store different things
		}
		added[off] = m
	}
	maps.DeleteFunc(added, func(_ int, m decode.Meaning) bool { return m == decode.NoMeaning })
	if len(added) > 0 {
		maps.Copy(added, s.meanings) // other sites can have the same map
		s.meanings = added
	}
}
