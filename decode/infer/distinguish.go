package infer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

// told says how the records of a ring's sites are told apart.
type told struct {
	cases []decode.Case
	notes []string // types whose records cannot be told apart
}

// decodes reports whether some case has a type.
func (t *told) decodes() bool {
	return slices.ContainsFunc(t.cases, func(c decode.Case) bool { return c.Type != nil })
}

// maker makes records that have one type, as far as it is known, and one range of lengths.
type maker struct {
	group    *group   // nil if the type is unknown
	typ      btf.Type // that the records are decoded with
	header   bool     // typ is only their beginning
	sites    []*Site
	min, max int64
	tags     map[spot][]uint64
	zeros    []spot // where the tag may be 0 as well
	guess    spot   // of a tag of which only the name of the type tells
	doubted  bool   // others can look like the records
}

// distinguish finds out what tells the records of groups and of the sites of unknown type apart. It lowers the certainty
// of the sites whose records others can look like.
func distinguish(groups []*group, unknown []*Site) told {
	if len(groups) == 1 && len(unknown) == 0 {
		return told{cases: []decode.Case{{Type: groups[0].typ, Options: groups[0].options()}}}
	}
	d := &distinction{}
	for _, g := range groups {
		for _, s := range g.sites {
			d.makers = append(d.makers, newMaker(g, s))
		}
	}
	for _, s := range unknown {
		d.makers = append(d.makers, newMaker(nil, s))
	}
	spots, kinds := spotsOf(d.makers)
	d.kinds = kinds
	names, at := namedBy(groups)
	if names != nil && !slices.Contains(spots, at) {
		spots = append(spots, at)
		kinds[at] = true
	}
	d.merge(spots, names, at)
	d.choose(spots)
	d.judge()
	return told{d.cases(), d.notes}
}

func newMaker(g *group, s *Site) *maker {
	m := &maker{group: g, sites: []*Site{s}, min: max(s.flow.Min, 0), max: s.flow.Max}
	if m.max < 0 {
		m.max = math.MaxInt64
	}
	if g != nil {
		m.typ = g.typ
		if size, err := btf.Sizeof(g.typ); err == nil && s.prefix && int64(size) >= m.min {
			m.max = min(m.max, int64(size))
		}
	}
	return m
}

// options returns what the sites of a group say about its records.
func (g *group) options() decode.Options {
	if g.known != nil {
		return *g.known
	}
	o := decode.Options{Arms: g.arms(), Meanings: g.meanings()}
	for _, s := range g.sites {
		o.Prefix = o.Prefix || s.prefix
		o.Header = o.Header || s.header
		o.KnownBy = s.KnownBy
	}
	g.known = &o
	return o
}

// exact reports whether all records of m have one length.
func (m *maker) exact() bool { return m.min == m.max }

// String describes the records of m.
func (m *maker) String() string {
	if m.group != nil {
		return m.group.typ.TypeName()
	}
	return "records of unknown type of " + m.sites[0].Program
}

// distinction is the state of distinguish.
type distinction struct {
	makers []*maker
	kinds  map[spot]bool // spots of fields that say of which kind a record is
	plan   plan
	notes  []string
}

// merge sets the tags of the makers at spots, and joins those that differ in nothing. names are the tags at a spot that
// the names of the types tell.
func (d *distinction) merge(spots []spot, names map[*group]uint64, named spot) {
	byKey := map[string]*maker{}
	var merged []*maker
	for _, m := range d.makers {
		m.tags = map[spot][]uint64{}
		for _, at := range spots {
			if values, zero := constantsAt(m.sites[0].flow.Writes, at); values != nil {
				m.tags[at] = values
				if zero {
					m.zeros = append(m.zeros, at)
				}
			}
		}
		if tag, ok := names[m.group]; ok && m.tags[named] == nil {
			m.tags[named], m.guess = []uint64{tag}, named
		}
		key := fmt.Sprintf("%p %d %d %v %v", m.group, m.min, m.max, m.tags, m.zeros)
		if old := byKey[key]; old != nil {
			old.sites = append(old.sites, m.sites...)
			continue
		}
		byKey[key] = m
		merged = append(merged, m)
	}
	d.makers = merged
}

// judge compares all makers of different types: it lowers the certainty of those whose records others can look
// like, and joins types that cannot be told apart.
func (d *distinction) judge() {
	parts := map[*maker]*lookalikes{}
	for _, a := range d.makers {
		if a.group == nil {
			continue
		}
		for _, b := range d.makers {
			if a.group == b.group {
				continue
			}
			p := &d.plan
			switch {
			case p.apart(a, b):
				if !p.apartByLength(a, b) {
					d.doubtTag(a, b)
				}
			case p.vague(b), d.inside(d.plan, a, b):
				a.doubt("%s can look the same", b)
			case d.inside(d.plan, b, a):
			case b.group != nil:
				unite(parts, a, b)
			case p.within(a, b):
				a.typ = nil
				d.note("records of %s cannot be told apart from %s", a, b)
			}
			if p.untagged(b) && !p.apart(a, b) {
				a.doubt("some records of %s can look the same", b)
			}
		}
	}
	d.behead(parts)
}

// doubtTag lowers the certainty of a if the tag that tells its records from those of b is not certain.
func (d *distinction) doubtTag(a, b *maker) {
	switch {
	case d.plan.mayBeZero(a, b):
		a.doubt("records of %s with a zero can look the same", b)
	case a.escapes() || b.escapes():
		a.doubt("code that cannot be followed may change what tells it from %s", b)
	case d.plan.guessed(a, b):
		a.doubt("only the names of an enum tell it from %s", b)
	}
}

func (d *distinction) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(d.notes, n) {
		d.notes = append(d.notes, n)
	}
}

// lookalikes are makers that cannot be told apart.
type lookalikes []*maker

// unite joins the lookalikes of two makers.
func unite(parts map[*maker]*lookalikes, a, b *maker) {
	for _, m := range []*maker{a, b} {
		if parts[m] == nil {
			parts[m] = &lookalikes{m}
		}
	}
	to, from := parts[a], parts[b]
	if to == from {
		return
	}
	if len(*from) > len(*to) {
		to, from = from, to
	}
	*to = append(*to, *from...)
	for _, m := range *from {
		parts[m] = to
	}
}

// behead makes the makers of each part have the type with which their types begin, if there is one.
func (d *distinction) behead(parts map[*maker]*lookalikes) {
	for _, m := range d.makers {
		joined := parts[m]
		if joined == nil {
			continue
		}
		part := slices.DeleteFunc(slices.Clone(d.makers), func(o *maker) bool { return parts[o] != joined })
		var types []btf.Type
		for _, o := range part {
			if !slices.Contains(types, o.group.typ) {
				types = append(types, o.group.typ)
			}
		}
		head := common(types)
		for _, o := range part {
			o.typ, o.header = head, true
			delete(parts, o)
		}
		what := strings.ReplaceAll(names(types), ", ", " and ")
		if head == nil {
			d.note("records of %s cannot be told apart", what)
			continue
		}
		d.note("records of %s cannot be told apart: only what they begin with is shown (%s)", what, head.TypeName())
	}
}

// escapes reports whether code that cannot be followed may write into the records.
func (m *maker) escapes() bool {
	return slices.ContainsFunc(m.sites, func(s *Site) bool { return s.flow.Escapes })
}

// doubt makes the type of the records of m likely at most. The first reason is told.
func (m *maker) doubt(format string, other *maker) {
	if m.doubted {
		return
	}
	m.doubted = true
	for _, s := range m.sites {
		s.Certainty = min(s.Certainty, Likely)
		s.Why += ", but " + fmt.Sprintf(format, other)
	}
}

// cases returns the conditions for the records of the makers.
func (d *distinction) cases() (cases []decode.Case) {
	for _, m := range d.makers {
		if d.plan.vague(m) || m.group == nil && !d.overlaps(m) || m.max == 0 {
			continue // an empty record shows nothing
		}
		c := decode.Case{Type: m.typ}
		switch {
		case m.header:
			c.Options.Header, c.Options.Prefix = true, true
		case m.typ != nil:
			c.Options = m.group.options()
		}
		for _, at := range d.plan.spots {
			if values := m.tags[at]; values != nil {
				c.Tags = append(c.Tags, decode.Tag{Off: int(at.off), Size: int(at.size), Values: values})
			}
		}
		if d.plan.lengths {
			c.Min = int(min(m.min, math.MaxInt32))
			if m.max <= math.MaxInt32 {
				c.Max = int(m.max)
			}
		}
		cases = addCase(cases, c)
	}
	return cases
}

// overlaps reports whether a record of m, whose type is unknown, can look like one of a known type.
func (d *distinction) overlaps(m *maker) bool {
	return slices.ContainsFunc(d.makers, func(o *maker) bool { return o.group != nil && !d.plan.apart(m, o) })
}

// addCase adds a case that differs from all cases. If it differs from one only in the values of one tag, it adds them to
// that one.
func addCase(cases []decode.Case, c decode.Case) []decode.Case {
	for i := range cases {
		o := &cases[i]
		if o.Type != c.Type || o.Min != c.Min || o.Max != c.Max || len(o.Tags) != len(c.Tags) {
			continue
		}
		var differ []int
		for j, t := range c.Tags {
			switch {
			case o.Tags[j].Off != t.Off || o.Tags[j].Size != t.Size:
				differ = append(differ, j, j)
			case !slices.Equal(o.Tags[j].Values, t.Values):
				differ = append(differ, j)
			}
		}
		if len(differ) > 1 {
			continue
		}
		for _, j := range differ {
			values := append(slices.Clip(o.Tags[j].Values), c.Tags[j].Values...)
			slices.Sort(values)
			o.Tags[j].Values = slices.Compact(values)
		}
		return cases
	}
	return append(cases, c)
}
