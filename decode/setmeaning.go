package decode

import (
	"slices"

	"github.com/cilium/ebpf/btf"
)

// WithMeanings returns a Set that differs from s in what numbers of fields stand for: meanings returns it for a type, as
// [Options.Meanings] has it. A type that has some, or for which it returns none, stays as it is.
func (s *Set) WithMeanings(meanings func(btf.Type) map[int]Meaning) (*Set, error) {
	cases := slices.Clone(s.cases)
	for i := range cases {
		c := &cases[i]
		if c.Type == nil || len(c.Options.Meanings) > 0 {
			continue
		}
		if m := meanings(c.Type); len(m) > 0 {
			c.Options.Meanings = m
		}
	}
	return NewCases(cases)
}
