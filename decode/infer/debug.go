package infer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/objects"
	"github.com/rbtool/rbtool/internal/sametype"
)

// maxDebug is the size limit of a section of an executable's DWARF, in bytes.
const maxDebug = 4 << 20

// askDebug gives the sites without a type the struct in the DWARF of the owners' executables whose members the source
// lines name. A process that reads the ring has it from the header that the program includes, or declares its own.
func (s *search) askDebug(sites []*Site) {
	asked := map[int64][]*Site{} // by size
	for _, site := range sites {
		if site.Type == nil && site.Size > 0 && len(site.named) > 0 {
			asked[site.Size] = append(asked[site.Size], site)
		}
	}
	pids, err := s.holders()
	if err != nil || len(pids) == 0 || len(asked) == 0 {
		return
	}
	found := objects.DebugOf(s.ctx, objects.DebugOptions{Limit: maxDebug, Language: objects.NotGo}, pids...)
	for _, size := range slices.Sorted(maps.Keys(asked)) {
		var types []located
		for _, d := range found {
			if s.ctx.Err() != nil {
				return
			}
			for _, t := range d.Structs(size) {
				if len(types) < maxLocated {
					types = append(types, located{t, d.In, placesOf(t)})
				}
			}
		}
		for _, site := range asked[size] {
			site.choose(types)
		}
	}
}

// maxLocated bounds the types of one size that are compared.
const maxLocated = 512

// located is a type, where it is, and its members.
type located struct {
	typ btf.Type
	in  string
	has map[placed]bool
}

// confirmed is [agreement.confirms] for a type with these members.
func (s *Site) confirmed(has map[placed]bool) bool {
	for p := range s.named {
		if !has[p] {
			return false
		}
	}
	return len(s.named) > 1
}

// choose sets the type of the records to the struct among found that the source lines leave no doubt of; if there are
// different ones, to none.
func (s *Site) choose(found []located) {
	var fits []located
	for _, f := range found {
		size, err := btf.Sizeof(f.typ)
		if err != nil || int64(size) != s.Size || !s.confirmed(f.has) || misfit(f.typ, s.flow.Writes) != "" {
			continue
		}
		if !slices.ContainsFunc(fits, func(other located) bool { return sametype.Same(other.typ, f.typ) }) {
			fits = append(fits, f)
		}
	}
	if len(fits) != 1 {
		return
	}
	s.Type, s.Certainty = fits[0].typ, Likely
	s.Why = fmt.Sprintf("it has the members that the source lines name, and is in %s, which uses the ring", fits[0].in)
}
