package proctrace

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// Counts counts the events of one type since the tracer was attached. Each event is counted in
// exactly one of the first four fields. An event that was missed counts as Missed even if rules
// would have left it out.
type Counts struct {
	Written uint64 // records in the ring
	Failed  uint64 // events lost because the ring had no room
	Missed  uint64 // events lost because the kernel did not run a program, see the package comment
	Ignored uint64 // events left out by rules

	StacksLost uint64 // stacks missing in written records because another stack has their slot
}

// Stats describes a tracer at work.
type Stats struct {
	Fork, Exec, Exit Counts
	// Unlisted is the number of changes that could not be made in the process table because it was
	// full.
	Unlisted uint64

	// Rules is the number of rules, Watches the number of those that watch. See [Tracer.Watch].
	Rules, Watches uint32

	// Commands says that the tracer takes commands (Linux 6.1). HoldsTasks says that a rule about a
	// process holds a reference to its task, which kernels some versions later than Linux 6.2
	// permit. Otherwise a rule applies to processes with the pid that started before the rule was
	// made.
	Commands, HoldsTasks bool

	// Copies is the number of copies of each program, see the package comment.
	Copies int
}

// Stats returns the sums of the counters of all CPUs. Events may happen meanwhile, so the sums may
// belong to different moments. The error matches [os.ErrClosed] after Close.
func (t *Tracer) Stats() (Stats, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return Stats{}, fmt.Errorf("read proctrace counters: %w", os.ErrClosed)
	}
	var s Stats
	for i, h := range hooks {
		c, err := t.count(h.typ, t.programs[i])
		if err != nil {
			return Stats{}, fmt.Errorf("read proctrace counters: %w", err)
		}
		*s.of(h.typ) = c
	}
	var perCPU []bpfEventCounts
	if err := t.counters.Lookup(uint32(0), &perCPU); err != nil {
		return Stats{}, fmt.Errorf("read proctrace counters: %w", err)
	}
	for _, c := range perCPU {
		s.Unlisted += c.Failed
	}
	s.Copies, s.Commands = len(t.programs[0]), t.control != nil
	if s.Commands {
		var n bpfRuleCounts
		if err := t.control.ruled.Lookup(uint32(0), &n); err != nil {
			return Stats{}, fmt.Errorf("read rules of proctrace: %w", err)
		}
		s.Rules, s.Watches, s.HoldsTasks = n.Rules, n.Watches, n.HoldsTasks != 0
	}
	return s, nil
}

// count returns the sums of the counts of a type over all CPUs and all copies of its program.
func (t *Tracer) count(typ Type, copies []*ebpf.Program) (Counts, error) {
	first, err := copies[0].Stats()
	if err != nil {
		return Counts{}, err
	}
	sum := Counts{Missed: first.RecursionMisses}
	for copy := range copies {
		var perCPU []bpfEventCounts
		if err := t.counters.Lookup(uint32(copy*eventTypes)+uint32(typ), &perCPU); err != nil {
			return Counts{}, err
		}
		for _, c := range perCPU {
			sum.Written += c.Written
			sum.Failed += c.Failed
			sum.Ignored += c.Ignored
			sum.StacksLost += c.StacksLost
			if copy == 0 {
				sum.Missed += c.Unhandled
			} else { // another copy wrote the event, which the first copy missed
				sum.Missed -= min(sum.Missed, c.Written+c.Failed+c.Ignored)
			}
		}
	}
	return sum, nil
}

// of returns the counts of one of the three types.
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
