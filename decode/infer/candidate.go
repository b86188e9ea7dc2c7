package infer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/sametype"
)

// candidates are types of the size of a site's records that fit its writes, or if its size is not constant, types that
// hold them and whose members lines name.
type candidates struct {
	exported []btf.Type // those that a variable exports, as in "const struct event *unused"
	by       string     // the variable that exports the last one
	fitting  []btf.Type
	more     bool // there are more, or it takes too long to find them
}

// maxCandidates bounds the candidates for one site.
const maxCandidates = 256

// candidates returns the types in the sources of p that the records of s can have. Types whose members have
// the names that the lines give them come alone, if there are such.
func (p *program) candidates(s *Site) (c candidates) {
	alike := 0
	for _, src := range p.sources {
		for i, t := range src.structs {
			f := s.relate(t, false)
			if (i%1024 == 0 || f >= prefixFit) && p.effort.over() {
				c.more = true
				return c
			}
			if f < prefixFit || misfit(t, s.flow.Writes) != "" {
				continue
			}
			name, exported := src.exported[t]
			a := s.agree(t)
			switch {
			case f == prefixFit && !a.confirms():
				continue
			case a.unlike > 0 || a.alike < alike || p.contexts[t.TypeName()] && !exported:
				continue
			case a.alike == 0 && !p.plausible(s, src, t, exported):
				continue
			case a.alike > alike:
				c, alike = candidates{}, a.alike
			}
			switch {
			case contains(c.fitting, t) && !exported:
			case len(c.fitting) == maxCandidates:
				c.more = true
			default:
				c.add(t, name, exported)
			}
		}
	}
	if alike == 0 && len(c.exported) == 0 {
		c.fitting = withoutKernelTypes(c.fitting)
	}
	return c
}

// add adds t, which the variable called name exports if exported is set.
func (c *candidates) add(t btf.Type, name string, exported bool) {
	if exported && !contains(c.exported, t) {
		c.exported, c.by = append(c.exported, t), name
	}
	if !contains(c.fitting, t) {
		c.fitting = append(c.fitting, t)
	}
}

// plausible reports whether the records can be a t, which has their size but no member that a source line names. A
// type of BTF that can be another object's is not, unless a variable exports it and the program has no
// lines. A type that no variable exports is not, unless half of its members are written.
func (p *program) plausible(s *Site, src source, t btf.Type, exported bool) bool {
	if !src.same {
		return exported && len(p.lines) == 0
	}
	if exported || len(s.flow.Writes) == 0 {
		return true
	}
	members, written := membersOf(t), 0
	for _, m := range members {
		if slices.ContainsFunc(s.flow.Writes, func(w recordflow.Write) bool { return w.Off == int64(m.Offset/8) }) {
			written++
		}
	}
	return 2*written >= len(members)
}

// bySize sets the type of a site whose program does not state it, if one type has the size of the records and
// fits the writes: one that a variable exports, otherwise the only one of all BTF that can be a record.
func (p *program) bySize(s *Site) {
	c := p.candidates(s)
	if c.more {
		s.because("too many types to compare have its size")
		return
	}
	take := func(t btf.Type, why string, args ...any) {
		if s.agree(t).confirms() {
			why += ", and the members that the source lines name"
		}
		s.take(answer{typ: t, certainty: Likely, fit: s.relate(t, false), why: fmt.Sprintf(why, args...)})
	}
	switch {
	case len(c.exported) == 1:
		take(c.exported[0], "the variable %s exports %s, which has a fitting size", c.by, c.exported[0].TypeName())
	case len(c.exported) > 1:
		s.because("variables export %d types that fit: %s", len(c.exported), names(c.exported))
	case len(c.fitting) == 1:
		take(c.fitting[0], "%s is the only type in the programs' BTF that has a fitting size", c.fitting[0].TypeName())
	case len(c.fitting) == 0:
		s.because("the programs' BTF has no type that fits")
	default:
		s.because("the programs' BTF has %d types that fit: %s", len(c.fitting), names(c.fitting))
	}
}

func contains(types []btf.Type, t btf.Type) bool {
	for _, o := range types {
		if sametype.Same(o, t) {
			return true
		}
	}
	return false
}

// withoutKernelTypes returns the types that are not the kernel's. A program's BTF has the kernel's types
// that its code reads; records have them only if the program says so.
func withoutKernelTypes(types []btf.Type) (own []btf.Type) {
	if len(types) == 0 {
		return nil
	}
	kernel, err := kernelbtf.Cache().Kernel()
	for _, t := range types {
		if err != nil || !isKernelType(kernel, t) {
			own = append(own, t)
		}
	}
	return own
}

// isKernelType reports whether the kernel has a type of the name of t and most of its members. A type whose name
// has a suffix after "___" is a version of a kernel type by CO-RE's rules.
func isKernelType(kernel *btf.Spec, t btf.Type) bool {
	name, _, flavor := strings.Cut(t.TypeName(), "___")
	if flavor && name != "" {
		return true
	}
	found, err := kernel.AnyTypesByName(name)
	if err != nil {
		return false
	}
	for _, k := range found {
		if object(k) == nil {
			continue
		}
		known := map[string]bool{}
		for _, m := range membersOf(k) {
			known[m.Name] = true
		}
		has, all := 0, 0
		for _, m := range membersOf(t) {
			if all++; known[m.Name] {
				has++
			}
		}
		if 2*has >= all {
			return true
		}
	}
	return false
}

// membersOf returns the members of a struct or union.
func membersOf(t btf.Type) []btf.Member {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}
