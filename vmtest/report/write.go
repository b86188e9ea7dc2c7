package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// JSON writes the whole report as one JSON document.
func (r Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Text writes the problems and then the matrix as plain text for a terminal.
func (r Report) Text(w io.Writer) error {
	var b strings.Builder
	r.problems(&b)
	for _, table := range [][][]string{r.features(), r.packages()} {
		tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		for _, row := range table {
			fmt.Fprintln(tw, strings.Join(row, "\t"))
		}
		tw.Flush()
		b.WriteByte('\n')
	}
	r.verdict(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the matrix as a page of documentation.
func (r Report) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Kernels\n\n")
	fmt.Fprintf(&b, "Generated on %s by vmtest, from tests that ran in virtual machines.\n", r.Date.UTC().Format(time.DateOnly))
	b.WriteString("A kernel has a feature if it accepted it in a trial. Tests skip without the features that they need.\n\n## Features\n\n")
	markdownTable(&b, r.features())
	b.WriteString("\n## Tests passed\n\n")
	markdownTable(&b, r.packages())
	b.WriteString("\n## Machines\n\n")
	machines := [][]string{{"kernel", "release", "runner", "accelerator"}}
	for _, k := range r.Kernels {
		machines = append(machines, []string{k.Name, k.Release, k.Runner, k.Accel})
	}
	markdownTable(&b, machines)
	if !r.OK() {
		b.WriteString("\n## Failures\n\nThis run failed:\n\n")
		for _, k := range r.Kernels {
			for _, g := range grouped(k.Problems) {
				fmt.Fprintf(&b, "- %s: %s\n", k.Name, g.Problem)
			}
		}
		for _, g := range grouped(r.Problems) {
			fmt.Fprintf(&b, "- %s\n", g.Problem)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownTable(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(b, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
}

// String returns the problem as one line, without its detail.
func (p Problem) String() string {
	var parts []string
	for _, s := range []string{p.Package, p.Test, p.What} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

func (r Report) problems(b *strings.Builder) {
	write := func(where string, g group) {
		p := g.Problem
		fmt.Fprintf(b, "FAIL %s%s\n", where, p)
		if g.more > 0 {
			fmt.Fprintf(b, "    and %d more tests, for the same reason\n", g.more)
		}
		if p.Detail != "" {
			b.WriteString("    " + strings.ReplaceAll(strings.TrimRight(p.Detail, "\n"), "\n", "\n    ") + "\n")
		}
		b.WriteByte('\n')
	}
	for _, k := range r.Kernels {
		for _, g := range grouped(k.Problems) {
			write(k.Name+": ", g)
		}
	}
	for _, g := range grouped(r.Problems) {
		write("", g)
	}
}

// group is a problem, and the number of further problems that differ from it only in the test.
type group struct {
	Problem
	more int
}

func grouped(problems []Problem) []group {
	var groups []group
	index := map[Problem]int{}
	for _, p := range problems {
		same := p
		same.Test = ""
		if i, ok := index[same]; ok && p.Test != "" {
			groups[i].more++
			continue
		}
		index[same] = len(groups)
		groups = append(groups, group{Problem: p})
	}
	return groups
}

func (r Report) head(first string) []string {
	row := []string{first}
	for _, k := range r.Kernels {
		row = append(row, k.Name)
	}
	return row
}

// features returns the table of features by kernel.
func (r Report) features() [][]string {
	rows := [][]string{r.head("feature")}
	for _, f := range r.Features {
		row := []string{f}
		for _, k := range r.Kernels {
			row = append(row, k.feature(f))
		}
		rows = append(rows, row)
	}
	return rows
}

func (k Kernel) feature(name string) string {
	why, probed := k.Features[name]
	switch {
	case !probed:
		return "?"
	case why == "":
		return "yes"
	}
	return "-"
}

// packages returns the table of packages by kernel.
func (r Report) packages() [][]string {
	rows := [][]string{r.head("package")}
	if len(r.Kernels) == 0 {
		return rows
	}
	prefix := r.commonPrefix()
	for i, p := range r.Kernels[0].Packages {
		row := []string{cmp.Or(strings.TrimPrefix(p.Path, prefix), p.Path)}
		for _, k := range r.Kernels {
			row = append(row, k.Packages[i].cell())
		}
		rows = append(rows, row)
	}
	return rows
}

// commonPrefix returns the prefix that all package paths share.
func (r Report) commonPrefix() string {
	packages := r.Kernels[0].Packages
	if len(packages) < 2 {
		return ""
	}
	prefix := packages[0].Path + "/"
	for _, p := range packages {
		for !strings.HasPrefix(p.Path+"/", prefix) {
			prefix = prefix[:strings.LastIndexByte(strings.TrimSuffix(prefix, "/"), '/')+1]
		}
	}
	return prefix
}

// cell returns the table cell of a package on a kernel: its outcome in a few words.
func (p Package) cell() string {
	counts := fmt.Sprint(p.Pass)
	if p.Skip > 0 {
		counts += fmt.Sprintf(", %d skipped", p.Skip)
	}
	switch p.State {
	case Passed:
		return counts
	case Failed:
		return fmt.Sprintf("%d FAILED, %s", p.Fail, counts)
	case Died:
		return "DIED, " + counts
	case BuildFailed, NotRun:
		return strings.ToUpper(string(p.State))
	}
	return string(p.State)
}

// verdict writes the last lines: the number of problems, and how many tests passed, failed and were
// skipped.
func (r Report) verdict(b *strings.Builder) {
	var pass, fail, skip int
	for _, k := range r.Kernels {
		for _, p := range k.Packages {
			pass, fail, skip = pass+p.Pass, fail+p.Fail, skip+p.Skip
		}
	}
	problems := len(r.Problems)
	for _, k := range r.Kernels {
		problems += len(k.Problems)
	}
	fmt.Fprintf(b, "%d kernels: %d problems\n%d passed, %d failed, %d skipped\n", len(r.Kernels), problems, pass, fail, skip)
}
