package probe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// tracerDoc is what status shows, as JSON.
type tracerDoc struct {
	Dir    string                  `json:"pin_dir"`
	Events string                  `json:"events"`
	Counts map[string]tracerCounts `json:"counts"`
	Uses   tracerUses              `json:"uses"`
	// Changes that the table of processes did not get.
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

// tracerUses is what of the kernel is used.
type tracerUses struct {
	Copies    int  `json:"copies"`
	Commands  bool `json:"commands"`
	HeldTasks bool `json:"held_tasks"`
	Overwrite bool `json:"overwrite"`
	Stacks    bool `json:"stacks"`
	Processes bool `json:"processes"`
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
	u, err := t.Uses()
	if err != nil {
		return err
	}
	rows := []struct {
		name   string
		counts proctrace.Counts
	}{{"fork", s.Fork}, {"exec", s.Exec}, {"exit", s.Exit}, {"total", s.Total()}}
	if asJSON {
		doc := tracerDoc{dir, proctrace.EventsPin(dir), map[string]tracerCounts{}, tracerUses(u), s.Unlisted}
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
	if lost := s.Total().StacksLost; lost > 0 {
		command.Note(stderr, "%d stacks were lost: other stacks had their slots", lost)
	}
	if s.Unlisted > 0 {
		command.Note(stderr, "the table of processes was full: %d changes are missing in it", s.Unlisted)
	}
	return command.PrintTable(w, usesTable(u))
}

// usesTable shows what of the kernel is used, and what is different without it.
func usesTable(u proctrace.Uses) [][]string {
	table := [][]string{{"PART", "IN USE"}}
	for _, part := range []struct {
		name    string
		used    bool
		without string
	}{
		{"commands", u.Commands, "the kernel has no user ring buffers: everything is traced"},
		{"held-tasks", u.HeldTasks, "the kernel's maps hold no tasks: rules know a process by pid and start"},
		{"stacks", u.Stacks, "events have none: start --stacks"},
		{"processes", u.Processes, "there is no table of them: start --processes"},
		{"overwrite", u.Overwrite, "when the ring is full, new events are lost: start --overwrite"},
	} {
		used := "yes"
		if !part.used {
			used = "no (" + part.without + ")"
		}
		table = append(table, []string{part.name, used})
	}
	return append(table, []string{"copies", fmt.Sprintf("%d of each program", u.Copies)})
}
