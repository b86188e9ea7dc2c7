package internal

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// A line of the tree in ARCHITECTURE.md: an indented path, or several in braces.
	treeLine = regexp.MustCompile(`(?m)^    ([A-Za-z][\w./]*)(?:\{([\w,]+)\}/)?(?:\s|$)`)
	// A file or directory named in its text.
	namedPath = regexp.MustCompile("(?:^|[\\s(`])((?:internal|arena|bpf|cmd|consumer|docs|inspect|vmtest|userprod|decode)/[\\w./]*\\w)")
)

// treeOf returns the paths in the tree of ARCHITECTURE.md.
func treeOf(text string) (paths []string) {
	_, text, _ = strings.Cut(text, "\n## The tree\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, match := range treeLine.FindAllStringSubmatch(text, -1) {
		if match[2] == "" {
			paths = append(paths, strings.TrimSuffix(match[1], "/"))
			continue
		}
		for name := range strings.SplitSeq(match[2], ",") {
			paths = append(paths, match[1]+name)
		}
	}
	return paths
}

// ARCHITECTURE.md names no path that does not exist, and each package by itself or by a directory
// above it.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := treeOf(string(text))
	if len(listed) < 40 {
		t.Fatalf("the tree has %v", listed)
	}
	names := slices.Clone(listed)
	for _, match := range namedPath.FindAllStringSubmatch(string(text), -1) {
		names = append(names, match[1])
	}
	for _, name := range names {
		if strings.Contains(name, "NAME") || strings.Contains(name, "FAMILY") || strings.Contains(name, "COMMAND") {
			continue
		}
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range packages(t, os.DirFS("..")) {
		if !slices.ContainsFunc(listed, func(p string) bool { return covers(p, dir) }) {
			t.Errorf("package %s is not in the tree", dir)
		}
	}
}

// covers reports whether the entry of the tree stands for the package in dir.
func covers(entry, dir string) bool {
	switch entry {
	case "bpf", "bench", "vmtest", "internal/bpf", "internal/bpftest", "internal/conform":
		return below(dir, entry)
	}
	return dir == entry
}

// packages returns the directories of the tree with Go packages, other than testdata.
func packages(t *testing.T, tree fs.FS) (dirs []string) {
	t.Helper()
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "build" || name == ".git" || entry.Name() == "testdata"):
			return fs.SkipDir
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			dirs = append(dirs, path.Dir(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
