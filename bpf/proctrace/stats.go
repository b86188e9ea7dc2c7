package proctrace

import (
	"fmt"
	"os"
)

// Counts says how the events of one type fared, since the tracer was attached.
// Their sum is the number of events.
type Counts struct {
	Written uint64 // records in the ring
	Failed  uint64 // there was no room in the ring
	Missed  uint64 // the kernel did not run the program, see the package comment
}

// Lost is the number of events that are not in the ring.
func (c Counts) Lost() uint64 { return c.Failed + c.Missed }

// Stats are the counts of each type.
type Stats struct{ Fork, Exec, Exit Counts }

// Total is the sum over the types.
func (s Stats) Total() Counts {
	return Counts{
		Written: s.Fork.Written + s.Exec.Written + s.Exit.Written,
		Failed:  s.Fork.Failed + s.Exec.Failed + s.Exit.Failed,
		Missed:  s.Fork.Missed + s.Exec.Missed + s.Exit.Missed,
	}
}

// Stats reads the counters and sums them over the CPUs. While events happen,
// the sums are no snapshot of one moment.
func (t *Tracer) Stats() (Stats, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return Stats{}, fmt.Errorf("read proctrace counters: %w", os.ErrClosed)
	}
	var s Stats
	for i, h := range hooks {
		var perCPU []bpfEventCounts
		if err := t.counters.Lookup(uint32(h.typ), &perCPU); err != nil {
			return Stats{}, fmt.Errorf("read proctrace counters: %w", err)
		}
		program, err := t.programs[i].Stats()
		if err != nil {
			return Stats{}, fmt.Errorf("read statistics of %s: %w", h.name, err)
		}
		sum := Counts{Missed: program.RecursionMisses}
		for _, c := range perCPU {
			sum.Written += c.Written
			sum.Failed += c.Failed
		}
		*s.of(h.typ) = sum
	}
	return s, nil
}

// of is the counts of one of the three types.
func (s *Stats) of(t Type) *Counts {
	switch t {
	case Fork:
		return &s.Fork
	case Exec:
		return &s.Exec
	default:
		return &s.Exit
	}
}
