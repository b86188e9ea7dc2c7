package main

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// each returns the matches of the first group of a regular expression in a file, in order, each once.
func each(t *testing.T, file, pattern string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Each input of the action reaches its script, by a variable that the script reads.
func TestTheActionPassesItsInputs(t *testing.T) {
	declared := each(t, "../action.yml", `(?m)^  ([a-z-]+):\n    description:`)
	if used := each(t, "../action.yml", `\$\{\{ inputs\.([a-z-]+) \}\}`); len(declared) == 0 || !slices.Equal(declared, used) {
		t.Errorf("inputs %v, of which %v are used", declared, used)
	}
	passed := each(t, "../action.yml", `(?m)^        (VMTEST_[A-Z_]+): `)
	read := each(t, "../tools/vmtest-action.sh", `\$\{?(VMTEST_[A-Z_]+)`)
	for _, v := range passed {
		if v != "VMTEST_CACHE" && !slices.Contains(read, v) {
			t.Errorf("the script does not read %s", v)
		}
	}
}
