package program

import (
	"fmt"
	"strings"
	"time"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
)

// report prints at the end what maps have, what programs did and what was lost.
func (s *session) report() error {
	if s.opts.maps {
		if err := s.printMaps(); err != nil {
			return err
		}
	}
	if s.opts.quiet {
		return nil
	}
	if err := s.printFigures(); err != nil {
		return err
	}
	s.printLosses()
	return nil
}

// printFigures prints a table of the programs.
func (s *session) printFigures() error {
	figures, err := s.object.Figures()
	if err != nil {
		return err
	}
	rows := [][]string{{"PROGRAM", "SECTION", "RUNS", "TIME/RUN", "MISSED"}}
	for _, f := range figures {
		each := "-"
		if f.Runs > 0 && s.runsError == nil {
			each = (f.Time / time.Duration(f.Runs)).String()
		}
		runs := command.Grouped(f.Runs)
		if s.runsError != nil {
			runs = "-"
		}
		rows = append(rows, []string{f.Program, f.Section, runs, each, command.Grouped(f.Missed)})
	}
	if err := command.PrintTable(s.stderr, rows); err != nil {
		return err
	}
	if s.runsError != nil {
		command.Note(s.stderr, "runs are not counted: %v", s.runsError)
	}
	return nil
}

// printLosses prints what the rings have refused, or why that is unknown.
func (s *session) printLosses() {
	switch {
	case len(s.rings) == 0 || s.opts.noLosses:
		return
	case s.counter == nil:
		var why []string
		for _, e := range command.EngineErrors(s.uncounted) {
			why = append(why, fmt.Sprintf("%s: %s", e.Engine, command.WithoutMemlock(e.Err)))
		}
		if len(why) == 0 {
			why = []string{command.WithoutMemlock(s.uncounted)}
		}
		command.Note(s.stderr, "losses are unknown, the kernel counts them nowhere: %s", strings.Join(why, "; "))
		return
	}
	report, err := s.counter.Read()
	if err != nil {
		command.Note(s.stderr, "losses are unknown: %v", err)
		return
	}
	for _, r := range report.Rings {
		fmt.Fprintf(s.stderr, "ring %s: %s records, %s lost%s\n", escape.String(r.Name), command.Grouped(r.Calls), lost(&r), whose(&r))
	}
	for _, note := range report.Notes {
		command.Note(s.stderr, "%s", note)
	}
}

// lost shows a number of lost records with its bounds.
func lost(r *drops.Ring) string {
	if r.FailedLow == r.FailedHigh {
		return command.Grouped(r.Failed)
	}
	return fmt.Sprintf("%s (%s to %s)", command.Grouped(r.Failed), command.Grouped(r.FailedLow), command.Grouped(r.FailedHigh))
}

// whose says which programs lost most.
func whose(r *drops.Ring) string {
	var by []string
	for _, c := range r.Callers {
		if c.Failed > 0 && len(by) < 3 {
			by = append(by, fmt.Sprintf("%s %s", c.Name, command.Grouped(c.Failed)))
		}
	}
	if len(by) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s); %s would have held them", strings.Join(by, ", "), command.RoughSize(float64(r.Needed)))
}
