package infer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer/internal/reconstruct"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// Certainty is how certain an inferred type is.
type Certainty int

const (
	// Unknown means that no type was found.
	Unknown Certainty = iota
	// Likely means that the program does not state the type, but only this type fits.
	Likely
	// Certain means that the program states the type.
	Certain
)

// String returns "unknown", "likely" or "certain".
func (c Certainty) String() string { return [...]string{"unknown", "likely", "certain"}[c] }

// Site is a place in a program that puts records into the ring: a call of a helper such as
// bpf_ringbuf_reserve, or several that are alike. Of a user ring it is a call that takes samples out of it.
type Site struct {
	Program string // "program 12 (name)"
	Call    string // name of the helper that is called
	More    int    // how many more calls are like this one, as in a loop that the compiler unrolled
	Line    string // source line; "" if the program has no line information
	Size    int64  // size of the records in bytes; -1 if it is not constant

	Type      btf.Type // nil if unknown
	Certainty Certainty
	Why       string // how the type is known, or why it is unknown
	How       string // if the kernel hides the helper, how its name was found; "" otherwise
	// KnownBy is "reconstructed" if no BTF describes the type: it is the layout that the program's
	// instructions and their source lines tell.
	KnownBy string

	program  *program
	flow     *recordflow.Site
	drain    *recordflow.Drain      // takes samples out of a user ring; nil for a site that puts records into a ring
	prefix   bool                   // a record can end anywhere in Type
	header   bool                   // Type is only the beginning of the records
	named    map[placed]bool        // the members that the source lines of the writes name
	meanings map[int]decode.Meaning // what helpers say of the fields
	headed   string                 // the name of the header in the records
	lacks    string                 // the name of a type that a source line names and no BTF has
	absent   string                 // says so
}

// site returns the Site of a call.
func (p *program) site(from *recordflow.Site) *Site {
	s := &Site{
		Program: p.String(), Call: from.Call, More: from.More, How: from.How, Line: strings.TrimSpace(from.Line.Text), Size: -1,
		program: p, flow: from,
	}
	if from.Call == "" {
		s.Call = "a helper that the kernel does not name"
	}
	if from.Min == from.Max {
		s.Size = from.Max
	}
	if p.effort.over() {
		s.Why = errTime.Error()
		return s
	}
	s.nameMembers()
	p.settle(s)
	return s
}

// nameMembers notes the members that source lines name. What is written to the stack is left out: another struct can be
// copied from there.
func (s *Site) nameMembers() {
	flow := *s.flow
	flow.Writes = slices.DeleteFunc(slices.Clone(flow.Writes), func(w recordflow.Write) bool { return w.Moved })
	if l := reconstruct.All([]*recordflow.Site{&flow})[0]; l != nil {
		s.named = namedMembers(l.Type)
	}
}

// settle finds the type of the records of s in the sources of p.
func (p *program) settle(s *Site) {
	if p.effort.over() {
		return
	}
	s.Type, s.Certainty, s.Why = nil, Unknown, ""
	s.lacks, s.absent = "", ""
	if len(p.sources) == 0 {
		s.Why = "the program has no BTF"
		return
	}
	best, weak := p.strongest(s)
	if best.sound() {
		s.take(best)
		return
	}
	switch {
	case s.absent != "":
		s.Why = s.absent
	case s.scalar() != "":
		s.because("its source line names the number %s", s.scalar())
	default:
		if s.Size < 0 {
			s.because("the size of its records is not constant")
		}
		p.bySize(s)
	}
	s.fallBack(best, weak)
}

// fallBack takes an answer that something speaks against, if no type of the size of the records is better. What lines
// name members of that it lacks is not taken: they tell the layout.
func (s *Site) fallBack(best, weak answer) {
	if s.Type != nil && best.fit > headerFit && s.agree(s.Type).score() <= s.agree(best.typ).score() {
		s.take(best)
	}
	for _, a := range []answer{weak, best} {
		switch {
		case a.typ == nil || s.Type != nil:
		case a.refuted:
			s.because("%s", a.why)
		default:
			s.take(a)
		}
	}
}

// uncertain reports that more sources can tell more of the type.
func (s *Site) uncertain() bool { return s.Certainty < Certain }

// take sets the type of the records.
func (s *Site) take(a answer) {
	s.Type, s.Certainty, s.Why = a.typ, a.certainty, a.why
	s.prefix, s.header, s.headed = a.fit == prefixFit, a.fit == headerFit, a.member
}

// because adds a reason why the type is unknown.
func (s *Site) because(format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if s.Why != "" {
		why = s.Why + "; " + why
	}
	s.Why = why
}
