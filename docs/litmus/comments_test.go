// Package litmus_test checks that the litmus tests and the comments of the code refer to each other.
package litmus_test

import (
	"bufio"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

const root = "../.."

var (
	// ordering finds comments about the order of accesses to shared memory.
	ordering = regexp.MustCompile(`\bPartners?\b|\bbarriers?\b|\bsmp_(store_release|load_acquire|mb|rmb)\b`)
	// unrelated are other uses of these words.
	unrelated = regexp.MustCompile(`\bwrite barrier\b|\bbarrier_var\b|\bor barrier per record\b`)
	// named finds the names after the word litmus.
	named    = regexp.MustCompile(`\blitmus\s+((?:[a-z0-9]+(?:-[a-z0-9]+)+|queue)(?:(?:,| and|, and)\s+(?:[a-z0-9]+(?:-[a-z0-9]+)+|queue))*)`)
	name     = regexp.MustCompile(`[a-z0-9]+(?:-[a-z0-9]+)+|queue`)
	cComment = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)
	margin   = regexp.MustCompile(`\n\s*(//|\*)?`)
)

// files returns the names of the litmus tests, without those of weakened variants, and the number
// of variants of each.
func files(t *testing.T) map[string]int {
	t.Helper()
	paths, err := filepath.Glob("*.litmus")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d files: %v", len(paths), err)
	}
	found := map[string]int{}
	for _, p := range paths {
		base, _, weakened := strings.Cut(strings.TrimSuffix(p, ".litmus"), "+")
		if weakened {
			found[base]++
		} else {
			found[base] += 0
		}
	}
	return found
}

// isTest reports whether name is that of a protocol: a litmus test, or its form for an architecture.
func isTest(found map[string]int, name string) bool {
	for file := range found {
		if protocol(file) == name {
			return true
		}
	}
	return false
}

// architecture is the end of the name of a test in assembly.
var architecture = regexp.MustCompile(`(-go)?-(arm64|x86)$`)

// protocol returns the name of a litmus test without its architecture.
func protocol(file string) string { return architecture.ReplaceAllString(file, "") }

// comments calls check for each comment of the sources.
func comments(t *testing.T, check func(where, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch rel, _ := filepath.Rel(root, path); {
		case d.IsDir() && leaveOut(rel, d.Name()):
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "_bpfel.go"):
		case strings.HasSuffix(path, ".go"):
			return goComments(path, check)
		case strings.HasSuffix(path, ".c") || strings.HasSuffix(path, ".h"):
			source, err := os.ReadFile(path)
			for _, text := range cComment.FindAllString(string(source), -1) {
				check(path, margin.ReplaceAllString(text, " "))
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// leaveOut reports whether a directory has no code of the protocols. Package model has models of barriers.
func leaveOut(path, name string) bool {
	return path != "." && strings.HasPrefix(name, ".") || name == "testdata" ||
		slices.Contains([]string{"bench", "build", "vmtest", "internal/model"}, path)
}

func goComments(path string, check func(where, text string)) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, group := range file.Comments {
		check(set.Position(group.Pos()).String(), margin.ReplaceAllString(group.Text(), " "))
	}
	return nil
}

// A comment about the order of accesses names the litmus test that proves it.
func TestCommentsNameTheirTest(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	found, used := files(t), map[string]bool{}
	comments(t, func(where, text string) {
		names := named.FindAllStringSubmatch(text, -1)
		for _, list := range names {
			for _, n := range name.FindAllString(list[1], -1) {
				used[n] = true
				if !isTest(found, n) {
					t.Errorf("%s: there is no litmus test %s", where, n)
				}
			}
		}
		if len(names) == 0 && ordering.MatchString(unrelated.ReplaceAllString(text, "")) {
			t.Errorf("%s: names no litmus test: %s", where, text)
		}
	})
	for _, file := range slices.Sorted(maps.Keys(found)) {
		if !used[protocol(file)] {
			t.Errorf("%s.litmus: no comment of the code names it", file)
		}
	}
}

// Each litmus test that forbids an outcome has a weakened variant that allows it.
func TestEachTestCanFail(t *testing.T) {
	for file, variants := range files(t) {
		if variants == 0 && result(t, file) == "Never" {
			t.Errorf("%s.litmus has no weakened variant", file)
		}
	}
}

// result returns the result that a litmus test states.
func result(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file + ".litmus")
	if err != nil {
		t.Error(err)
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if r, ok := strings.CutPrefix(s.Text(), " * Result: "); ok {
			return r
		}
	}
	t.Errorf("%s.litmus states no result", file)
	return ""
}

// The table of README.md has a row for each protocol.
func TestReadmeListsEachProtocol(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for file := range files(t) {
		if !strings.Contains(string(readme), protocol(file)) {
			t.Errorf("README.md does not list %s", protocol(file))
		}
	}
}
