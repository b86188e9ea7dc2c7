package probe

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/conform"
	"github.com/rbtool/rbtool/internal/feature"
)

func newFeatures() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "features",
		Short: "Show which features this kernel supports, and why others are missing",
		Long: `Show which of the features that rbtool uses this kernel supports. Each is found by trying it.

With --conform, test every rule of ring buffers, user ring buffers, arenas and the objects
used with them on this kernel. The verdicts are: yes, the kernel follows the rule; no, it
behaves as older kernels do; not supported, it lacks a feature; differs, it does something
else (the exit status is then 1).`,
		Example: "  rbtool features\n  rbtool features --conform -o json\n  rbtool features --conform --group arena",
		Args:    cobra.NoArgs,
	}
	output := command.OutputFlag(cmd, "table", "json", "markdown")
	var rules bool
	var groups []string
	cmd.Flags().BoolVar(&rules, "conform", false, "test every rule on this kernel")
	cmd.Flags().StringSliceVar(&groups, "group", nil, "test only these groups of rules (with --conform)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkGroups(groups, rules); err != nil {
			return err
		}
		if err := conform.Allowed(); err != nil {
			return fmt.Errorf("probe features: %w", err)
		}
		if rules {
			return runConform(cmd, groups, output.Value)
		}
		return showFeatures(cmd.OutOrStdout(), output.Value)
	}
	return cmd
}

func checkGroups(groups []string, rules bool) error {
	if len(groups) > 0 && !rules {
		return command.Usagef("features: --group goes with --conform")
	}
	for _, g := range groups {
		if !slices.Contains(conform.Groups(), conform.Group(g)) {
			var all []string
			for _, known := range conform.Groups() {
				all = append(all, string(known))
			}
			return command.Usagef("features: --group %q: not one of %s", g, strings.Join(all, ", "))
		}
	}
	return nil
}

// found is a feature in the JSON output. Scripts rely on its member names.
type found struct {
	Name   string `json:"name"`
	For    string `json:"for"`
	Have   bool   `json:"have"`
	Reason string `json:"reason,omitempty"`
}

func showFeatures(w io.Writer, format string) error {
	var all []found
	for _, f := range feature.All() {
		if f.For == "" {
			continue // only this project's tests need it
		}
		one := found{Name: f.Name, For: f.For, Have: true}
		if err := f.Have(); err != nil {
			one.Have, one.Reason = false, oneLine(err)
		}
		all = append(all, one)
	}
	if format == "json" {
		return command.PrintJSON(w, all)
	}
	rows := [][]string{strings.Fields("FEATURE HAVE FOR WHY-NOT")}
	for _, f := range all {
		have, reason := "yes", "-"
		if !f.Have {
			have, reason = "no", f.Reason
		}
		rows = append(rows, []string{f.Name, have, f.For, reason})
	}
	if format == "markdown" {
		return printMarkdown(w, rows)
	}
	return command.PrintTable(w, rows)
}

// oneLine returns the text of err without the verifier's log, which has many lines.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func runConform(cmd *cobra.Command, groups []string, format string) error {
	rules := conform.Rules()
	if len(groups) > 0 {
		rules = slices.DeleteFunc(rules, func(r conform.Rule) bool { return !slices.Contains(groups, string(r.Group)) })
	}
	results := conform.Run(cmd.Context(), rules, nil)
	if err := cmd.Context().Err(); err != nil {
		return fmt.Errorf("test rules: %w", err)
	}
	report, err := conform.NewReport(results)
	if err != nil {
		return err
	}
	if err := printReport(cmd.OutOrStdout(), report, format); err != nil {
		return err
	}
	if n := report.Count(conform.Differs); n > 0 {
		return fmt.Errorf("test rules: %d of %d differ on this kernel", n, len(report.Rules))
	}
	return nil
}

func printReport(w io.Writer, r conform.Report, format string) error {
	switch format {
	case "json":
		return command.PrintJSON(w, r)
	case "markdown":
		if err := conform.Markdown(w, []conform.Report{r}); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return nil
	}
	rows := [][]string{strings.Fields("RULE VERDICT DETAIL")}
	for _, e := range r.Rules {
		detail := e.Detail
		if e.Feature != "" {
			detail = e.Feature
		}
		rows = append(rows, []string{e.ID(), string(e.Verdict), detail})
	}
	if err := command.PrintTable(w, rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", r.Summary()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// printMarkdown writes rows as a Markdown table. The first row is the header.
func printMarkdown(w io.Writer, rows [][]string) error {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
