package infer

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/sametype"
)

// claim is what a program or its BTF says of the type of a site's records.
type claim struct {
	typ btf.Type
	why string // "it is passed to fill as e"
	// memory reports that the records are copied from memory of this type: they cannot be longer.
	memory bool
	// foreign reports that the BTF can be that of another object.
	foreign bool
	guessed bool // as in the source that has the type
	// doubtful reports that the program states the type in a way that can mean other memory.
	doubtful bool
	member   string // the name of the member that has the type, if it is only the beginning of the records
	// weak reports that candidates by size come first: only names tell that the source is of the program, or the memory is
	// a buffer for anything.
	weak bool
}

// fit is how the records of a site and a type agree.
type fit uint8

const (
	noFit     fit = iota
	headerFit     // the type is the beginning of the records: they are longer, or can be
	prefixFit     // the records are the type or a beginning of it
	wholeFit      // the records have the size of the type
)

// relate compares the length of the site's records with the size of t.
func (s *Site) relate(t btf.Type, memory bool) fit {
	n, err := btf.Sizeof(t)
	size := int64(n)
	least, most := s.flow.Min, s.flow.Max
	switch {
	case err != nil || size == 0:
		return noFit
	case least == size && most == size, flexible(t) && least >= size:
		return wholeFit
	case memory && least < size, most >= 0 && most <= size && least < most:
		return prefixFit
	case least >= size || most < 0 || most > size:
		return headerFit
	}
	return noFit
}

// weigh returns the answer that follows from a claim that the program states. If ok is false, the records do not have
// the type; the answer says why.
func (s *Site) weigh(c claim) (a answer, ok bool) {
	f := s.relate(c.typ, c.memory)
	a = answer{typ: c.typ, certainty: Certain, why: c.why, fit: f, member: c.member}
	size, _ := btf.Sizeof(c.typ)
	wrong, names := misfit(c.typ, s.flow.Writes), s.agree(c.typ)
	switch {
	case f == noFit:
		a.why += fmt.Sprintf(", but that has %d bytes", size)
		return a, false
	case f == headerFit:
		a.certainty = Likely
		a.why += fmt.Sprintf(", which is the beginning of the records: it has %d bytes", size)
		wrong = misfitBelow(c.typ, int64(size), s.flow.Writes)
	case f == prefixFit && !c.memory:
		a.certainty = Likely
		a.why += fmt.Sprintf(", of whose %d bytes the records are the beginning", size)
	}
	if c.guessed && !s.names(c.typ) || (c.foreign || c.doubtful) && !names.confirms() {
		if a.certainty == Certain && names.unlike == 0 {
			a.why += ", but source lines do not confirm its members"
		}
		a.certainty = Likely
	}
	if wrong != "" {
		a.certainty = Likely
		a.why += ", although " + wrong
	}
	a.wrong = wrong != ""
	if names.unlike > 0 && (f > headerFit || c.memory) {
		a.certainty = Likely
		a.refuted = names.refutes()
		a.why += ", although source lines name members that it lacks"
	}
	return a, true
}

// misfitBelow is like misfit, for the writes that end at or before size.
func misfitBelow(t btf.Type, size int64, writes []recordflow.Write) string {
	return misfit(t, slices.DeleteFunc(slices.Clone(writes), func(w recordflow.Write) bool { return w.Off+w.Size > size }))
}

// answer is the type of a site's records, as one claim has it.
type answer struct {
	typ       btf.Type
	certainty Certainty
	why       string
	fit       fit
	wrong     bool   // some write does not fit
	refuted   bool   // source lines name other members
	member    string // as in the claim
}

// sound reports that nothing that is known of the records speaks against the answer.
func (a answer) sound() bool { return a.fit > headerFit && !a.wrong && !a.refuted }

// better reports whether a says more than b.
func (a answer) better(b answer) bool {
	switch {
	case a.refuted != b.refuted:
		return b.refuted
	case a.wrong != b.wrong:
		return b.wrong
	case a.certainty != b.certainty:
		return a.certainty > b.certainty
	}
	return a.fit > b.fit
}

// strongest returns the answer that says most of the records of s, and the one that comes after candidates by size. Of
// answers that say as much, but of different types, the names in source lines decide. If they do not, it is likely.
func (p *program) strongest(s *Site) (best, weak answer) {
	var rival answer
	for _, c := range p.stated(s) {
		a, ok := s.weigh(c)
		switch {
		case !ok:
			s.Why = a.why
		case c.weak:
			weak = a
		case best.typ == nil || a.better(best):
			best, rival = a, answer{}
		case best.better(a) || related(best.typ, a.typ):
		case s.agree(a.typ).score() > s.agree(best.typ).score():
			best, rival = a, answer{}
		case s.agree(a.typ).score() == s.agree(best.typ).score():
			rival = a
		}
	}
	if rival.typ != nil {
		best.certainty = Likely
		best.why += fmt.Sprintf(", but it can be %s too: %s", rival.typ.TypeName(), rival.why)
	}
	return best, weak
}

// related reports whether the types are the same but for a typedef, or one begins with the other.
func related(a, b btf.Type) bool { return begins(a, b) || begins(b, a) }

// begins reports whether t or what it begins with is the type start.
func begins(t, start btf.Type) bool {
	for range maxNesting {
		if t == nil {
			return false
		}
		if sametype.Same(btf.UnderlyingType(t), btf.UnderlyingType(start)) {
			return true
		}
		t, _ = memberAt(t, 0)
	}
	return false
}
