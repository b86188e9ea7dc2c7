package infer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/sametype"
)

// maxKinds bounds the types of the records of one ring: each is compared with each other. A [decode.Set] has no more cases.
const maxKinds = 512

// combine sets all fields of r that follow from r.Sites, of which there is at least one.
func (r *Result) combine() {
	var types []*group
	var unknown []*Site
	for _, s := range r.Sites {
		if s.Type == nil {
			unknown = append(unknown, s)
			continue
		}
		if types = add(types, s); len(types) > maxKinds {
			r.Why = fmt.Sprintf("the programs make records of more than %d types, which are not told apart", maxKinds)
			return
		}
	}
	types = slices.DeleteFunc(types, func(g *group) bool {
		err := g.broken()
		if err != nil {
			unknown = append(unknown, g.sites...)
		}
		return err != nil
	})
	if len(types) == 0 {
		r.Why = unknown[0].reason()
		return
	}
	t := distinguish(types, unknown)
	var whys []string
	sure := Certain
	for _, g := range types {
		least := slices.MinFunc(g.sites, func(a, b *Site) int { return int(a.Certainty - b.Certainty) })
		sure = min(sure, least.Certainty)
		whys = append(whys, fmt.Sprintf("%s (%s: %s)", g.typ.TypeName(), least.Certainty, least.Why))
	}
	for _, s := range unknown {
		whys = append(whys, s.reason())
	}
	if !t.decodes() {
		r.Why = strings.Join(t.notes, "; ")
		return
	}
	r.Why = strings.Join(append(whys, t.notes...), "; ")
	set, err := decode.NewCases(t.cases)
	if err != nil {
		r.Why = err.Error()
		return
	}
	r.Set, r.Certainty, r.Partial = set, sure, len(unknown) > 0 || len(t.notes) > 0
}

// reason says why the type of a site's records is unknown.
func (s *Site) reason() string {
	what := "records"
	if s.Size >= 0 {
		what = fmt.Sprintf("records of %d bytes", s.Size)
	}
	return fmt.Sprintf("%s of %s are unknown: %s", what, s.Program, s.Why)
}

// group is a type and the sites that produce its records.
type group struct {
	typ   btf.Type
	sites []*Site
	known *decode.Options // what options returned
}

// broken returns why records cannot be decoded with the type, as that of hostile BTF, or nil. The type of the sites is
// unknown then.
func (g *group) broken() error {
	_, err := decode.NewWith(g.typ, g.options())
	for _, s := range g.sites {
		if err != nil {
			s.Type, s.Certainty, s.Why = nil, Unknown, err.Error()
		}
	}
	return err
}

// add adds a site to the group of its type, and makes the group's type its own. Types of different programs
// are the same if they have the same name and members: programs of one object have the same types, but each can
// have BTF of its own.
func add(groups []*group, s *Site) []*group {
	for _, g := range groups {
		if sametype.Same(g.typ, s.Type) {
			s.Type = g.typ
			g.sites = append(g.sites, s)
			return groups
		}
	}
	return append(groups, &group{typ: s.Type, sites: []*Site{s}})
}
