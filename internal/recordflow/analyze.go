package recordflow

import (
	"errors"
	"slices"
)

// Analyze finds where the program puts records into the ring. It fails if p has no instructions or takes too
// many steps. It changes nothing in p.
func Analyze(p *Program) (*Flow, error) {
	if len(p.Insns) == 0 {
		return nil, errors.New("the program has no instructions")
	}
	a, err := analyze(p)
	if err != nil {
		return nil, err
	}
	f := &Flow{Sites: a.sites(), Drains: a.drains(), Values: map[uint32][]Write{}}
	for m := range p.Maps {
		for _, n := range a.valueWrites(m) {
			for w := range a.facts(n, 0, -1) {
				f.Values[m] = appendNew(f.Values[m], w)
			}
		}
	}
	return f, nil
}

// analyze analyzes p, and a second time if what it finds needs a wider scope. If that takes too many steps, it
// returns an analysis of a narrower scope.
func analyze(p *Program) (*analysis, error) {
	c := newCode(p.Insns)
	a := newAnalysis(p, c, scope{})
	if err := a.run(); err != nil {
		if len(a.callees) == 0 {
			return nil, err
		}
		a = newAnalysis(p, c, scope{shallow: true})
		return a, a.run()
	}
	wide := a.wanted()
	for _, s := range []scope{wide, {stack: wide.stack}} {
		if !s.stack && len(s.maps) == 0 {
			continue
		}
		if b := newAnalysis(p, c, s); b.run() == nil {
			return b, nil
		}
	}
	return a, nil
}

// scope is how much an analysis follows.
type scope struct {
	shallow bool            // calls are not followed
	stack   bool            // what wrote to the stack
	maps    map[uint32]bool // what wrote to the values of these maps
}

// run computes the states of the program and notes what its instructions do.
func (a *analysis) run() error {
	if err := a.follow(); err != nil {
		return err
	}
	a.collect()
	return nil
}

// wanted returns the scope that shows what is copied into records.
func (a *analysis) wanted() scope {
	want := scope{stack: len(a.notes.drains) > 0, maps: map[uint32]bool{}}
	for _, site := range a.notes.sites {
		for _, d := range slices.Concat(site.data, site.copies) {
			switch o := a.objects[d.id]; o.kind {
			case stack:
				want.stack = true
			case element, variable:
				want.maps[o.m] = true
			}
		}
	}
	return want
}
