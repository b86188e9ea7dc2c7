package infer

import (
	"slices"
	"strings"

	"github.com/rbtool/rbtool/decode/infer/internal/reconstruct"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// drained returns the types that a program takes the samples of a user ring for: a Site for each length of
// which it reads samples from their start.
func (p *program) drained(d *recordflow.Drain) (found []*Site) {
	for _, r := range d.Reads {
		known := slices.ContainsFunc(found, func(s *Site) bool { return s.Size == r.Size })
		if r.By == "" || r.Off != 0 || r.Size <= 0 || known {
			continue
		}
		s := &Site{
			Program: p.String(), Call: recordflow.DrainHelper, Line: strings.TrimSpace(r.Line.Text), Size: r.Size, program: p, drain: d,
			flow: &recordflow.Site{Ins: d.Ins, Func: r.Func, Call: r.By, Line: r.Line, Min: r.Size, Max: r.Size, Passes: d.Passes},
		}
		s.flow.Writes = loads(d.Reads, r.Size)
		if l := reconstruct.Samples(d, r.Size); l != nil {
			s.named = namedMembers(l.Type)
		}
		p.settle(s)
		found = append(found, s)
	}
	return found
}

// loads returns the loads from the first size bytes of a sample, which the type must fit like writes.
func loads(reads []recordflow.Write, size int64) (all []recordflow.Write) {
	for _, r := range reads {
		if r.By == "" && r.Off >= 0 && r.Off+r.Size <= size {
			all = append(all, r)
		}
	}
	return all
}
