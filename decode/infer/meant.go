package infer

import (
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

// meanings returns what the sites of g say of the fields of its records, by offset. All sites that write into a field
// must say the same, and all sites must write a time: it is taken for that of the record.
func (g *group) meanings() map[int]decode.Meaning { return agreed(g.typ, 0, g.sites) }

// Meanings returns what the instructions of the ring's programs say of the fields of t, by offset: that a number is a time of
// a clock, for instance. It is for types that the caller knows without [Of]. Sites whose records t cannot describe do not
// count.
func (r *Result) Meanings(t btf.Type) map[int]decode.Meaning {
	var sites []*Site
	for _, s := range r.Sites {
		if s.flow != nil && s.drain == nil && s.relate(t, false) != noFit {
			sites = append(sites, s)
		}
	}
	return agreed(t, 0, sites)
}

// agreed is for the records of some sites, which have a type at an offset.
func agreed(t btf.Type, base int64, sites []*Site) map[int]decode.Meaning {
	found := map[int]decode.Meaning{}
	for _, s := range sites {
		for off, m := range s.meanings {
			if _, ok := found[off]; !ok {
				found[off] = m
			}
		}
	}
	for off, m := range found {
		left := 1 << 10
		f := fieldAt(t, int64(off)-base, &left)
		if f.off += base; f.size == 0 || !f.agreed(m, sites) {
			delete(found, off)
		}
	}
	return found
}

// agreed reports whether no site writes anything but a number of this meaning into f.
func (f *field) agreed(m decode.Meaning, sites []*Site) bool {
	for _, s := range sites {
		of, ok := s.meanings[int(f.off)]
		switch {
		case ok && of != m:
			return false
		case !ok && (m.IsTime() || f.union):
			return false
		case m != decode.Chars && s.changes(f.spot, ok):
			return false
		}
	}
	return true
}

// changes reports whether the site writes into a field: with known set, another write than those that begin where the
// field does, whose meaning is known. A zero often stands for no value yet.
func (s *Site) changes(at spot, known bool) bool {
	for i := range s.flow.Writes {
		w := &s.flow.Writes[i]
		switch {
		case w.Off < 0, w.Constant && w.Const == 0, known && (w.Off == at.off || s.KnownBy != ""):
		case touches(w, at):
			return true
		}
	}
	return false
}

// field is a scalar or array of a type.
type field struct {
	spot
	union bool // it is in a union
}

// fieldAt returns the innermost field of t that begins at off. Its size is 0 if there is none, or if an arm of a union
// has none of this size. left bounds the types that are visited.
func fieldAt(t btf.Type, off int64, left *int) (f field) {
	if *left--; *left < 0 || off < 0 {
		return f
	}
	u := btf.UnderlyingType(t)
	size, err := btf.Sizeof(u)
	if err != nil || off >= int64(size) {
		return f
	}
	switch u := u.(type) {
	case *btf.Struct:
		for _, m := range u.Members {
			begin := int64(m.Offset / 8)
			n, err := btf.Sizeof(m.Type)
			if err != nil || m.BitfieldSize > 0 || off < begin || off >= begin+int64(n) {
				continue
			}
			f = fieldAt(m.Type, off-begin, left)
			f.off += begin
			return f
		}
		return f
	case *btf.Union:
		for i, m := range u.Members {
			arm := fieldAt(m.Type, off, left)
			if arm.size == 0 || i > 0 && arm.size != f.size {
				return field{}
			}
			f = arm
		}
		f.union = true
		return f
	}
	if off > 0 {
		return f // within a number, or an array that has elements of its own
	}
	return field{spot: spot{0, int64(size)}}
}
