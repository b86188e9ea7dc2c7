package infer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode/infer/internal/reconstruct"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/sametype"
)

// reconstructed is [Site.KnownBy] of types that no BTF describes.
const reconstructed = "reconstructed"

// maxWrites bounds the writes of all records that are reconstructed: it takes about 10 µs for each.
const maxWrites = 1 << 16

// complete gives the sites without a type the layout that their instructions and source lines tell, and those of which
// only a header is known what comes after it.
func complete(sites []*Site) {
	var missing []*Site
	var flows []*recordflow.Site
	left := maxWrites
	for _, s := range sites {
		switch {
		case s.Type == nil && s.program.effort.over():
		case s.drain != nil:
			if s.Type == nil {
				s.reconstruct(reconstruct.Samples(s.drain, s.Size), []*program{s.program})
			}
		case s.Type == nil || s.header:
			if left -= len(s.flow.Writes); left < 0 {
				s.because("the programs have too many writes to reconstruct all records")
				continue
			}
			missing, flows = append(missing, s), append(flows, s.flow)
		default:
			s.meanings = reconstruct.Meanings(s.flow)
		}
	}
	layouts := reconstruct.All(flows)
	programs := map[*reconstruct.Layout][]*program{}
	for i, l := range layouts {
		if p := missing[i].program; !slices.Contains(programs[l], p) {
			programs[l] = append(programs[l], p)
		}
	}
	for i, l := range layouts {
		if s := missing[i]; s.header {
			s.extend(l)
		} else {
			s.reconstruct(l, programs[l])
		}
	}
	for _, s := range sites {
		if s.drain == nil {
			s.addLocals()
		}
	}
}

// reconstruct sets the type to the layout that instructions and source lines of programs tell; nil if they tell none.
func (s *Site) reconstruct(l *reconstruct.Layout, programs []*program) {
	if l == nil || s.scalar() != "" {
		if !s.array() {
			s.number()
		}
		return
	}
	t := *l.Type // other sites can have it as well
	if s.lacks != "" {
		t.Name = s.lacks
	}
	t.Members = copies(programs, t.Members)
	s.Type, s.meanings, s.Certainty, s.KnownBy = &t, l.Meanings, Likely, reconstructed
	s.header = s.flow.Min != s.flow.Max
	told := "the layout is what its instructions and source lines tell"
	if l.Named < l.Written {
		told += fmt.Sprintf(" (%d of %d places that they write have names)", l.Named, l.Written)
	}
	s.Why = told + "; " + s.Why
}

// copies returns the members with structs for those of which is known only that so many bytes are copied to
// them, as in "e->src = *v": the only struct of this size that the keys and values of the programs' maps have. Of a struct
// that is only a buffer, the buffer is copied.
func copies(programs []*program, members []btf.Member) []btf.Member {
	members = slices.Clone(members)
	for i, m := range members {
		bytes, ok := m.Type.(*btf.Array)
		if !ok || strings.HasPrefix(m.Name, unnamed) {
			continue
		}
		if elem, ok := bytes.Type.(*btf.Int); !ok || elem.Size != 1 || elem.Name == "char" || bytes.Nelems < 8 { // char is text
			continue
		}
		var fits []btf.Type
		for _, p := range programs {
			fits = p.addMapTypes(fits, int(bytes.Nelems))
		}
		if len(fits) == 1 {
			members[i].Type = content(fits[0])
		}
	}
	return members
}

// content returns the type of the only member of t, a buffer, or else t.
func content(t btf.Type) btf.Type {
	if wraps(t) {
		return btf.UnderlyingType(t).(*btf.Struct).Members[0].Type
	}
	return t
}

// addMapTypes adds to fits the structs of size bytes that the keys and values of the program's maps have.
func (p *program) addMapTypes(fits []btf.Type, size int) []btf.Type {
	types := slices.Clone(p.keys)
	for _, id := range slices.Sorted(maps.Keys(p.maps)) {
		t, _ := p.element(id)
		types = append(types, t)
	}
	for _, t := range types {
		if t == nil || object(t) == nil || t.TypeName() == "" || contains(fits, t) {
			continue
		}
		if n, err := btf.Sizeof(t); err == nil && n == size {
			fits = append(fits, sametype.Unqualified(t))
		}
	}
	return fits
}

// extend adds what instructions and source lines tell of records of constant size to the header that they begin with.
func (s *Site) extend(l *reconstruct.Layout) {
	size, _ := btf.Sizeof(s.Type)
	if l == nil || s.Size < 0 || s.headed == "" {
		return
	}
	members := []btf.Member{{Name: s.headed, Type: s.Type}}
	for _, m := range l.Type.Members {
		n, err := btf.Sizeof(m.Type)
		switch at := int(m.Offset / 8); {
		case err != nil || at < size && at+n > size: // it lies across the end of the header
			return
		case at >= size:
			members = append(members, m)
		}
	}
	t := &btf.Struct{Name: l.Type.Name, Size: l.Type.Size, Members: members}
	s.Type, s.meanings, s.header, s.KnownBy = t, l.Meanings, false, reconstructed
	s.Why += "; the rest is what its instructions and source lines tell"
}
