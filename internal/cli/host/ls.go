package host

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
)

func newLs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List every ring buffer, user ring buffer and arena of this host",
		Long: `List every ring buffer, user ring buffer and arena of this host: how full it is, which
processes hold it, and where it is pinned. A process marked * consumes the ring, or produces
into a user ring buffer; (unseen)* stands for processes that cannot be seen from here, such as
those outside the container. FILL% of an arena is the share of its pages that are allocated,
where the kernel counts them. Nothing on the host is changed.`,
		Example: "  rbtool ls\n  rbtool ls -o json",
		Args:    cobra.NoArgs,
	}
	output := command.OutputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := inspect.All(inspect.Options{SkipPrograms: output.Value == "table"})
		if err != nil {
			return err
		}
		for i := range report.Maps {
			hideSelf(&report.Maps[i])
		}
		if output.Value == "json" {
			return command.PrintJSON(cmd.OutOrStdout(), jsonReport(report))
		}
		if err := command.PrintTable(cmd.OutOrStdout(), lsTable(report.Maps)); err != nil {
			return err
		}
		printNotes(cmd.ErrOrStderr(), report.Notes)
		return nil
	}
	return cmd
}

func lsTable(maps []inspect.Map) [][]string {
	rows := [][]string{strings.Fields("ID TYPE NAME SIZE BACKLOG FILL% OWNERS PINS")}
	for _, m := range maps {
		backlog, fill := "-", "-"
		if p := m.Positions; p != nil {
			backlog = command.FormatSize(p.Backlog)
			fill = fmt.Sprintf("%.1f", 100*p.Fill)
		} else if m.Arena != nil && m.Arena.Pages != nil {
			fill = fmt.Sprintf("%.1f", arenaFill(&m))
		}
		rows = append(rows, []string{
			fmt.Sprint(m.ID), maptype.Name(m.Type), cmp.Or(m.Name, "-"), command.FormatSize(m.Bytes), backlog, fill,
			cmp.Or(owners(&m), "-"), cmp.Or(strings.Join(m.Pins, ","), "-"),
		})
	}
	return rows
}

// owners lists the processes that use m, in one line.
func owners(m *inspect.Map) string {
	var names []string
	for _, u := range m.Users {
		name := fmt.Sprintf("%s(%d)", u.Comm, u.PID)
		if u.Consumes || u.Produces {
			name += "*"
		}
		names = append(names, name)
	}
	if m.UnseenWriters > 0 {
		names = append(names, "(unseen)*")
	}
	return strings.Join(names, ",")
}

func printNotes(w io.Writer, notes []string) {
	for _, text := range notes {
		command.Note(w, "%s", text)
	}
}
