package probe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/mapflag"
)

// tracerDoc is the JSON output of status. Scripts rely on its member names.
type tracerDoc struct {
	Dir    string                  `json:"pin_dir"`
	Events string                  `json:"events"`
	Counts map[string]tracerCounts `json:"counts"`
	Uses   tracerUses              `json:"uses"`
	// Unlisted counts changes that are not in the table of processes because it was full.
	Unlisted uint64 `json:"unlisted"`
}

// tracerCounts are the counts of one type of event.
type tracerCounts struct {
	Written uint64 `json:"written"`
	Failed  uint64 `json:"failed"`
	Missed  uint64 `json:"missed"`
	Ignored uint64 `json:"ignored"`

	StacksLost uint64 `json:"stacks_lost"`
}

// tracerUses are the features of the kernel that the tracer uses.
type tracerUses struct {
	Copies    int  `json:"copies"`
	Commands  bool `json:"commands"`
	HeldTasks bool `json:"held_tasks"`
	Overwrite bool `json:"overwrite"`
	Stacks    bool `json:"stacks"`
	Processes bool `json:"processes"`
}

// usesOf finds out which features of the kernel a tracer uses. It needs CAP_SYS_ADMIN to find the
// tracer's map of stacks.
func usesOf(t *proctrace.Tracer, s proctrace.Stats) (tracerUses, error) {
	u := tracerUses{
		Copies: s.Copies, Commands: s.Commands, HeldTasks: s.HoldsTasks,
		Overwrite: t.Events().Flags()&mapflag.RBOverwrite != 0, Processes: t.Processes() != nil,
	}
	stacks, err := proctrace.StacksOf(t.Events())
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err != nil {
		return u, err
	}
	u.Stacks = true
	return u, stacks.Close()
}

// totalCounts sums the counts of all types of event.
func totalCounts(s proctrace.Stats) (sum proctrace.Counts) {
	for _, c := range []proctrace.Counts{s.Fork, s.Exec, s.Exit} {
		sum.Written += c.Written
		sum.Failed += c.Failed
		sum.Missed += c.Missed
		sum.Ignored += c.Ignored
		sum.StacksLost += c.StacksLost
	}
	return sum
}

func tracerStatus(w, stderr io.Writer, dir string, asJSON bool) error {
	t, err := proctrace.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return noTracer("show", dir)
	}
	if err != nil {
		return err
	}
	defer t.Close()
	s, err := t.Stats()
	if err != nil {
		return err
	}
	u, err := usesOf(t, s)
	if err != nil {
		return err
	}
	total := totalCounts(s)
	rows := []struct {
		name   string
		counts proctrace.Counts
	}{{"fork", s.Fork}, {"exec", s.Exec}, {"exit", s.Exit}, {"total", total}}
	if asJSON {
		doc := tracerDoc{dir, eventsPin(dir), map[string]tracerCounts{}, u, s.Unlisted}
		for _, r := range rows {
			doc.Counts[r.name] = tracerCounts(r.counts)
		}
		return command.PrintJSON(w, doc)
	}
	table := [][]string{strings.Fields("EVENT WRITTEN FAILED MISSED IGNORED")}
	for _, r := range rows {
		table = append(table, []string{r.name, fmt.Sprint(r.counts.Written), fmt.Sprint(r.counts.Failed), fmt.Sprint(r.counts.Missed), fmt.Sprint(r.counts.Ignored)})
	}
	if err := command.PrintTable(w, table); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if lost := total.StacksLost; lost > 0 {
		command.Note(stderr, "%d stacks were lost: other stacks occupied their slots", lost)
	}
	if s.Unlisted > 0 {
		command.Note(stderr, "the table of processes was full: %d changes are missing from it", s.Unlisted)
	}
	return command.PrintTable(w, usesTable(u))
}

// usesTable shows which features of the kernel the tracer uses, and what it lacks without each.
func usesTable(u tracerUses) [][]string {
	table := [][]string{{"PART", "IN USE"}}
	for _, part := range []struct {
		name    string
		used    bool
		without string
	}{
		{"commands", u.Commands, "the kernel has no user ring buffers: there are no rules"},
		{"held-tasks", u.HeldTasks, "maps cannot hold tasks: rules identify a process by pid and start time"},
		{"stacks", u.Stacks, "not started with --stacks"},
		{"processes", u.Processes, "not started with --processes"},
		{"overwrite", u.Overwrite, "not started with --overwrite: new events are lost when the ring is full"},
	} {
		used := "yes"
		if !part.used {
			used = "no (" + part.without + ")"
		}
		table = append(table, []string{part.name, used})
	}
	return append(table, []string{"copies", fmt.Sprintf("%d of each program", u.Copies)})
}
