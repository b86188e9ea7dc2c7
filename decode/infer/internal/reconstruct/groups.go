package reconstruct

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bounds is what sites have in common that can fill the same struct.
type bounds struct {
	min, max int64
	typ      string
}

// group is sites that fill the same struct.
type group struct {
	sites  []*evidence
	writes int              // of all sites
	at     map[string]int64 // the offsets of members, by path
	done   bool
	found  *Layout
}

// groupsOf returns the group of each site; sites can be nil. The order of the sites does not matter. Sites that rival others
// make the groups. The rest complete every group that they fit, and belong to the one that they fit best.
func groupsOf(sites []*evidence) map[*evidence]*group {
	alike := map[bounds][]*evidence{}
	for _, e := range sites {
		if e != nil {
			b := bounds{e.site.Min, e.site.Max, e.typ}
			alike[b] = append(alike[b], e)
		}
	}
	of := map[*evidence]*group{}
	for _, all := range alike {
		inOrder(all)
		rivals := rivalling(all[:min(len(all), maxKinds)])
		var groups []*group
		for _, last := range []bool{false, true} {
			for _, e := range all {
				if rivals[e] != last {
					of[e] = join(&groups, e)
				}
			}
		}
	}
	return of
}

// inOrder sorts sites, those of which lines name the most members first, by what they write and not by where they are.
func inOrder(sites []*evidence) {
	keys := map[*evidence]string{}
	for _, e := range sites {
		var b strings.Builder
		for _, w := range e.site.Writes[:min(len(e.site.Writes), maxFields)] {
			fmt.Fprint(&b, w.Off, w.Size, w.Max, w.By, w.Constant, w.Const, w.Line.Number, w.Line.Column, w.Line.Text, "\n")
		}
		keys[e] = b.String()
	}
	slices.SortStableFunc(sites, func(a, b *evidence) int {
		return cmp.Or(cmp.Compare(len(b.at), len(a.at)), cmp.Compare(keys[a], keys[b]))
	})
}

// rivalling returns the sites that rival another one.
func rivalling(sites []*evidence) map[*evidence]bool {
	found := map[*evidence]bool{}
	for i, e := range sites {
		for _, o := range sites[i+1:] {
			if (!found[e] || !found[o]) && e.rivals(o) {
				found[e], found[o] = true, true
			}
		}
	}
	return found
}

// join adds a site to all groups that it fits, and returns the one that it fits best. If it fits none, join makes a new one.
func join(groups *[]*group, e *evidence) *group {
	var best *group
	most := fit{}
	for _, g := range (*groups)[max(0, len(*groups)-maxGroups):] {
		f, ok := g.fits(e)
		if !ok {
			continue
		}
		if best == nil || most.less(f) {
			best, most = g, f
		}
		g.add(e)
	}
	if best == nil {
		best = &group{sites: []*evidence{e}, writes: len(e.writes), at: maps.Clone(e.at)}
		*groups = append(*groups, best)
	}
	return best
}

// fit says how well a site fits a group.
type fit struct {
	alike int // members that lines name alike
	same  int // constants that are the same as those of the group's first site
	other int // members that only the group has
}

func (f fit) less(o fit) bool {
	return cmp.Or(cmp.Compare(f.alike, o.alike), cmp.Compare(f.same, o.same), cmp.Compare(o.other, f.other)) < 0
}

// fits reports whether the lines of the site name some members of the group alike, and none differently, and how well it
// fits.
func (g *group) fits(e *evidence) (f fit, ok bool) {
	for k, off := range e.at {
		switch at, ok := g.at[k]; {
		case ok && at != off:
			return fit{}, false
		case ok:
			f.alike++
		}
	}
	if f.alike == 0 || f.alike == 1 && e.typ == "" || slices.ContainsFunc(g.sites, e.rivals) {
		return fit{}, false
	}
	for off, c := range e.constants() {
		if d := g.sites[0].constants()[off]; c != nil && d != nil && c.Size == d.Size && c.Const == d.Const {
			f.same++
		}
	}
	f.other = len(g.at) - f.alike
	return f, true
}

// add adds a site that fits.
func (g *group) add(e *evidence) {
	if n := g.writes + len(e.writes); len(g.sites) < maxLike && n <= maxNamed && g.adds(e) {
		g.sites, g.writes = append(g.sites, e), n
	}
	maps.Copy(g.at, e.at)
}

// adds reports whether a site writes other bytes than those before it in the group.
func (g *group) adds(e *evidence) bool {
	same := func(a, b namedWrite) bool {
		return a.Off == b.Off && a.Size == b.Size && a.Write.Line == b.Write.Line && a.Constant == b.Constant && a.By == b.By
	}
	return !slices.ContainsFunc(g.sites, func(o *evidence) bool { return slices.EqualFunc(o.writes, e.writes, same) })
}

// layout returns the layout of the records of the group, or nil if no member is sure.
func (g *group) layout() *Layout {
	if !g.done {
		g.done, g.found = true, layoutOf(g.sites).layout(g.sites[0])
	}
	return g.found
}
