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
	output := command.OutputFlag(cmd, append(command.ListFormats(), "markdown")...)
	var rules, noHeader bool
	command.NoHeaderFlag(cmd.Flags(), &noHeader)
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
			return runConform(cmd, groups, output.Value, noHeader)
		}
		return showFeatures(cmd.OutOrStdout(), output.Value, noHeader)
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

func showFeatures(w io.Writer, format string, noHeader bool) error {
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
	list := command.List{Document: all, Objects: all, NoHeader: noHeader, Rows: func(bool) [][]string { return featureRows(all) }}
	if format == "markdown" {
		return printMarkdown(w, list.Rows(false))
	}
	return list.Print(w, format)
}

func featureRows(all []found) [][]string {
	rows := [][]string{strings.Fields("FEATURE HAVE FOR WHY-NOT")}
	for _, f := range all {
		have, reason := "yes", "-"
		if !f.Have {
			have, reason = "no", f.Reason
		}
		rows = append(rows, []string{f.Name, have, f.For, reason})
	}
	return rows
}

// oneLine returns the text of err without the verifier's log, which has many lines.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func runConform(cmd *cobra.Command, groups []string, format string, noHeader bool) error {
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
	if err := printReport(cmd.OutOrStdout(), report, format, noHeader); err != nil {
		return err
	}
	if n := report.Count(conform.Differs); n > 0 {
		return fmt.Errorf("test rules: %d of %d differ on this kernel", n, len(report.Rules))
	}
	return nil
}

func printReport(w io.Writer, r conform.Report, format string, noHeader bool) error {
	if format == "markdown" {
		if err := conform.Markdown(w, []conform.Report{r}); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return nil
	}
	list := command.List{Document: r, Objects: r.Rules, NoHeader: noHeader, Rows: func(bool) [][]string { return ruleRows(r.Rules) }}
	if err := list.Print(w, format); err != nil || format != "table" {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", r.Summary()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func ruleRows(rules []conform.Entry) [][]string {
	rows := [][]string{strings.Fields("RULE VERDICT DETAIL")}
	for _, e := range rules {
		detail := e.Detail
		if e.Feature != "" {
			detail = e.Feature
		}
		rows = append(rows, []string{e.ID(), string(e.Verdict), detail})
	}
	return rows
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
