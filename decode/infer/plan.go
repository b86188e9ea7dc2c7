package infer

import (
	"math"
	"slices"
)

// plan says what tells records apart.
type plan struct {
	spots   []spot
	lengths bool
}

// choose sets the plan: the simplest one that tells all records apart, or else the one that tells most apart.
func (d *distinction) choose(spots []spot) {
	if len(d.makers) > maxMakers {
		spots = nil
	}
	var plans []plan
	if !slices.ContainsFunc(d.makers, func(m *maker) bool { return !m.exact() }) {
		plans = append(plans, plan{lengths: true})
	}
	for _, at := range spots {
		plans = append(plans, plan{spots: []spot{at}})
	}
	cost := math.MaxInt
	try := func(p plan) bool {
		c := d.cost(p)
		better := c < cost
		if better {
			d.plan, cost = p, c
		}
		return better
	}
	for _, p := range append(plans, plan{lengths: true}) {
		if try(p); cost == 0 {
			return
		}
	}
	base := plan{lengths: true}
	for range maxTags {
		next := base
		for _, at := range spots {
			if p := (plan{append(slices.Clip(base.spots), at), true}); try(p) {
				next = p
			}
		}
		if len(next.spots) == len(base.spots) {
			break
		}
		base = next
	}
}

// cost returns how bad a plan is; 0 if it tells all records of different types apart.
func (d *distinction) cost(p plan) (cost int) {
	for i, a := range d.makers {
		for _, b := range d.makers[:i] {
			if a.group == b.group {
				continue
			}
			switch {
			case p.apart(a, b):
				if p.guessed(a, b) {
					cost++
				}
			case a.group != nil && d.inside(p, a, b):
				cost += p.price(a)
			case b.group != nil && d.inside(p, b, a):
				cost += p.price(b)
			default:
				cost += 8
			}
		}
	}
	return cost
}

// apart reports whether no record is one of both makers.
func (p *plan) apart(a, b *maker) bool { return p.apartByLength(a, b) || p.apartByTag(a, b) }

func (p *plan) apartByLength(a, b *maker) bool { return p.lengths && (a.max < b.min || b.max < a.min) }

func (p *plan) apartByTag(a, b *maker) bool {
	return slices.ContainsFunc(p.spots, func(at spot) bool {
		return a.tags[at] != nil && b.tags[at] != nil && disjoint(a.tags[at], b.tags[at])
	})
}

// guessed reports whether only tags that names tell keep a and b, which are apart, apart.
func (p *plan) guessed(a, b *maker) bool {
	return !p.apartByLength(a, b) && !slices.ContainsFunc(p.spots, func(at spot) bool {
		return at != a.guess && at != b.guess && a.tags[at] != nil && b.tags[at] != nil && disjoint(a.tags[at], b.tags[at])
	})
}

// within reports whether the conditions for records of a hold for no record for which those of b do not.
func (p *plan) within(a, b *maker) bool {
	if p.lengths && (a.min < b.min || a.max > b.max) {
		return false
	}
	return !slices.ContainsFunc(p.spots, func(at spot) bool {
		return b.tags[at] != nil && (a.tags[at] == nil || !subset(a.tags[at], b.tags[at]))
	})
}

// inside reports whether records of a are most likely not some of b, although they could be: those of b have more
// lengths, or any number where those of a have their kind.
func (d *distinction) inside(p plan, a, b *maker) bool {
	if !p.within(a, b) || p.within(b, a) {
		return false
	}
	return p.lengths && (a.min > b.min || a.max < b.max) || slices.ContainsFunc(p.spots, func(at spot) bool {
		return d.kinds[at] && a.tags[at] != nil && b.tags[at] == nil && a.tags[at][0] != 0
	})
}

// price is the cost of records of m that look like those of others; it is lower if they have a tag.
func (p *plan) price(m *maker) int {
	if p.tagged(m) {
		return 1
	}
	return 2
}

// tagged reports whether the plan uses a tag of m.
func (p *plan) tagged(m *maker) bool {
	return slices.ContainsFunc(p.spots, func(at spot) bool { return m.tags[at] != nil })
}

// untagged reports whether some records of m may not have one of its tags: they are too short for it, or have a zero.
func (p *plan) untagged(m *maker) bool {
	return slices.ContainsFunc(p.spots, func(at spot) bool {
		return m.tags[at] != nil && (m.min < at.off+at.size || slices.Contains(m.zeros, at))
	})
}

// mayBeZero reports whether records of b with a zero in place of their tag can be taken for records of a, which are
// apart from the others.
func (p *plan) mayBeZero(a, b *maker) bool {
	return slices.ContainsFunc(p.spots, func(at spot) bool {
		return slices.Contains(b.zeros, at) && a.tags[at] != nil && a.tags[at][0] == 0
	})
}

// vague reports whether nothing is known of the records of m that could keep them from being taken for others.
func (p *plan) vague(m *maker) bool {
	return m.group == nil && !p.tagged(m) && !(p.lengths && m.exact())
}
