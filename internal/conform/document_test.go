package conform

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// docs/conformance.md was generated from runs in virtual machines. It must show the verdicts that are known
// for the kernels, which TestRules checks there too.
func TestDocument(t *testing.T) {
	const page = "../../docs/conformance.md"
	text, err := os.ReadFile(page)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is not there: make conformance", page)
	}
	if err != nil {
		t.Fatal(err)
	}
	releases := releasesOf(string(text))
	var group Group
	var columns []string
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			group = Group(name)
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), " | ")
		if strings.HasPrefix(line, "| rule |") {
			columns = cells[1 : len(cells)-1]
			continue
		}
		rest, ok := strings.CutPrefix(line, "| **")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, "**")
		r := Rule{Group: group, Name: name}
		seen[r.ID()] = true
		for i, series := range columns {
			if got, want := cells[1+i], cell(expected(r, releases[series])); got != want {
				t.Errorf("%s on %s: the page says %s, want %s", r.ID(), series, got, want)
			}
		}
	}
	for _, r := range Rules() {
		if !seen[r.ID()] {
			t.Errorf("%s is not on the page: make conformance", r.ID())
		}
	}
	if len(columns) < 6 || len(releases) != len(columns) {
		t.Errorf("%d kernels on the page, the releases of %d", len(columns), len(releases))
	}
}

// releasesOf returns the release of each series from the table at the end of the page.
func releasesOf(page string) map[string]string {
	releases := map[string]string{}
	_, table, _ := strings.Cut(page, "\n## Kernels\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		series := strings.TrimPrefix(cells[0], "| ")
		if release, _, ok := strings.Cut(cells[min(1, len(cells)-1)], " "); ok && release != "---" && series != "kernel" {
			releases[series] = release
		}
	}
	return releases
}
