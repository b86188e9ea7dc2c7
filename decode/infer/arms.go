package infer

import (
	"maps"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// arms says which member of its unions a record of g has, as far as each site that sets a number in front of
// the union to constants writes one member, which its source lines name.
func (g *group) arms() (arms []decode.Arm) {
	f := fieldsOf(g.typ)
	for _, u := range f.unions {
		for _, at := range f.before(u) {
			if len(arms) > 0 && (arms[0].Tag.Off != int(at.off) || arms[0].Tag.Size != int(at.size)) {
				continue
			}
			if found := g.armsAt(u, at); found != nil {
				arms = append(arms, found...)
				break
			}
		}
	}
	return arms
}

// armsAt returns the arms of u that the number at a spot tells, or nil.
func (g *group) armsAt(u unionAt, at spot) (arms []decode.Arm) {
	const unclear = -1
	byTag := map[uint64]int{}
	sites := map[uint64][]*Site{} // by tag
	clear := map[int]bool{}
	for _, s := range g.sites {
		tags, _ := constantsAt(s.flow.Writes, at)
		if tags == nil {
			return nil
		}
		for _, tag := range tags {
			sites[tag] = append(sites[tag], s)
		}
		arm, ok := s.arm(u)
		switch {
		case ok:
			clear[arm] = true
		case !s.writes(u):
			continue
		default:
			arm = unclear
		}
		for _, tag := range tags {
			if old, ok := byTag[tag]; ok && old != arm {
				arm = unclear
			}
			byTag[tag] = arm
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(byTag)) {
		if arm := byTag[tag]; arm != unclear {
			t := decode.Tag{Off: int(at.off), Size: int(at.size), Values: []uint64{tag}}
			means := agreed(u.typ.Members[arm].Type, u.off, sites[tag])
			arms = append(arms, decode.Arm{Tag: t, Union: int(u.off), Member: arm, Meanings: means})
		}
	}
	if len(clear) < 2 {
		return nil // one arm alone does not show that the number tells the arms
	}
	return arms
}

// writes reports whether the site can write something else than zeros into u.
func (s *Site) writes(u unionAt) bool {
	size, err := btf.Sizeof(u.typ)
	return err != nil || slices.ContainsFunc(s.flow.Writes, func(w recordflow.Write) bool {
		return touches(&w, spot{u.off, int64(size)}) && !(w.Constant && w.Const == 0)
	})
}

// arm returns the index of the only member of u that has all names that the source lines give to places in it.
func (s *Site) arm(u unionAt) (arm int, ok bool) {
	size, err := btf.Sizeof(u.typ)
	if err != nil {
		return 0, false
	}
	inside := map[placed]bool{}
	for p := range s.named {
		if p.off >= u.off && p.off < u.off+int64(size) && p.name != u.name {
			inside[p] = true
		}
	}
	if len(inside) == 0 {
		return 0, false
	}
	for i, m := range u.typ.Members {
		has := map[placed]bool{}
		budget := 1 << 12
		addPlaces(has, &btf.Struct{Members: []btf.Member{m}}, u.off, maxNesting, &budget)
		named := true
		for p := range inside {
			named = named && has[p]
		}
		if named && ok {
			return 0, false
		}
		if named {
			arm, ok = i, true
		}
	}
	return arm, ok
}
