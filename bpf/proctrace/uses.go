package proctrace

import (
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/ring"
)

// Uses says what of the kernel a tracer uses. What a kernel lacks is left out.
type Uses struct {
	// Copies of each program for events, see the package comment.
	Copies int
	// Commands are taken (Linux 6.1).
	Commands bool
	// HeldTasks: a rule about a process holds its task (Linux 6.2, for these programs later),
	// so that nobody else is taken for it. Without, the process is known by its pid and by
	// having been born before the rule.
	HeldTasks bool
	// Overwrite: the ring keeps the newest events, as Options ask for.
	Overwrite bool
	// Stacks: events have stacks, as Options ask for.
	Stacks bool
	// Processes: there is a table of processes, as Options ask for.
	Processes bool
}

// Uses says what of the kernel the tracer uses. It takes CAP_SYS_ADMIN, to look at the
// maps of its programs.
func (t *Tracer) Uses() (Uses, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return Uses{}, fmt.Errorf("look at proctrace: %w", os.ErrClosed)
	}
	stacks, err := t.hasStacks()
	if err != nil {
		return Uses{}, fmt.Errorf("look at proctrace: %w", err)
	}
	u := Uses{Stacks: stacks, Processes: t.processes != nil, Copies: len(t.programs[0]), Commands: t.control != nil, Overwrite: t.events.Flags()&ring.FlagOverwrite != 0}
	if !u.Commands {
		return u, nil
	}
	var n bpfRuleCounts
	if err := t.control.ruled.Lookup(uint32(0), &n); err != nil {
		return Uses{}, fmt.Errorf("look at proctrace: %w", err)
	}
	u.HeldTasks = n.HoldsTasks != 0
	return u, nil
}

func (t *Tracer) hasStacks() (bool, error) {
	set, err := installed(t.handlers)
	if err != nil {
		return false, err
	}
	defer set.close()
	maps, err := t.maps(set)
	for _, m := range maps {
		defer m.Close()
	}
	return hasStacks(maps), err
}
