// Package internal holds the layers of the module: see TestLayers.
package internal

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

const module = "github.com/rbtool/rbtool/"

// layers are the layers of the tree, the highest first. A package belongs to the layer with the
// longest prefix of its path.
var layers = []struct {
	name     string
	packages []string
}{
	{"tools and fixtures", []string{"cmd", "bench", "vmtest", "deploy", "docs", "internal/bpftest/arenatest"}},
	{"the command", []string{"internal/cli"}},
	{"what the command stands on", []string{
		"internal/stream", "internal/fleet", "internal/top", "internal/filter", "internal/symbol", "internal/conform", "internal/runner",
	}},
	{"probes and fixtures", []string{"internal/bpftest", "internal/testenv", "internal/feature", "internal/netpair", "internal/natstest", "internal/model"}},
	{"the library", []string{
		"consumer", "userprod", "arena", "pin", "inspect", "decode", "capture", "drops", "metrics", "bpf",
	}},
	{"internal packages", []string{"internal"}},
	{"the kernel", []string{"internal/syscall", "internal/needs64bitlittleendian"}},
}

// tree maps the path of each package outside the standard library to the paths of the packages that
// its files import, tests excepted. Paths of this module are relative to it.
type tree map[string][]string

// goList reads the tree with go list. The test is skipped without the go command, as in the
// machines of vmtest.
func goList(t *testing.T) tree {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		testenv.SkipWithout(t, "go-tool", err)
	}
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Standard", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	found := make(tree)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Standard   bool
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		} else if p.Standard {
			continue
		}
		var imports []string
		for _, path := range p.Imports {
			imports = append(imports, strings.TrimPrefix(path, module))
		}
		found[strings.TrimPrefix(p.ImportPath, module)] = imports
	}
}

// own returns the paths of the module's packages below prefix, in order.
func (tr tree) own(prefix string) []string {
	var paths []string
	for path := range tr {
		if below(path, prefix) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// reaches returns a chain of imports from one package to a package below prefix, or nil if there is
// none that avoids the packages below without.
func (tr tree) reaches(from, prefix string, without ...string) []string {
	seen := make(map[string]bool)
	var walk func(path string) []string
	walk = func(path string) []string {
		seen[path] = true
		if below(path, prefix) {
			return []string{path}
		}
		for _, next := range tr[path] {
			if seen[next] || slices.ContainsFunc(without, func(p string) bool { return below(next, p) }) {
				continue
			}
			if chain := walk(next); chain != nil {
				return append([]string{path}, chain...)
			}
		}
		return nil
	}
	return walk(from)
}

// below reports whether path is prefix or lies below it.
func below(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// layerOf returns the index of a package's layer, or -1 for a package of another module.
func layerOf(path string) int {
	layer, longest := -1, ""
	for i, l := range layers {
		for _, p := range l.packages {
			if below(path, p) && len(p) > len(longest) {
				layer, longest = i, p
			}
		}
	}
	return layer
}

// No package imports a package of a higher layer. The packages of one layer import each other
// without cycles, which the compiler ensures.
func TestLayers(t *testing.T) {
	tr := goList(t)
	for path, imports := range tr {
		from := layerOf(path)
		if from < 0 && !strings.Contains(path, ".") {
			t.Errorf("%s has no layer: add it to the table", path)
		}
		for _, next := range imports {
			if to := layerOf(next); to >= 0 && to < from {
				t.Errorf("%s (%s) imports %s (%s)", path, layers[from].name, next, layers[to].name)
			}
		}
	}
}

// A reader and a producer need neither what finds maps and processes, nor netlink, nor decoding.
func TestReadersAndProducersStandAlone(t *testing.T) {
	tr := goList(t)
	for _, path := range []string{"consumer", "userprod"} {
		for _, heavy := range []string{"inspect", "pin", "decode", "internal/bpf/mapusers", "internal/bpf/mapiter", "github.com/vishvananda/netlink"} {
			if chain := tr.reaches(path, heavy); chain != nil {
				t.Errorf("%s", strings.Join(chain, " imports "))
			}
		}
	}
}

// Of the fixtures of the tests, the command has those with which conform shows the kernel's rules.
func TestTheCommandHasNoFixtures(t *testing.T) {
	tr := goList(t)
	for _, fixtures := range []string{"internal/bpftest", "internal/testenv", "internal/natstest", "testing"} {
		if chain := tr.reaches("cmd/rbtool", fixtures, "internal/conform"); chain != nil {
			t.Errorf("%s", strings.Join(chain, " imports "))
		}
	}
}

// A family of commands imports internal/cli/command, and no other family. Only the root imports
// families, and only main imports the root.
func TestFamiliesOfCommandsStandAlone(t *testing.T) {
	const root, shared = "internal/cli", "internal/cli/command"
	tr := goList(t)
	families := tr.own(root)
	if len(families) < 5 {
		t.Fatalf("families: %v", families)
	}
	for path, imports := range tr {
		for _, next := range imports {
			switch {
			case !below(next, root), path == "cmd/rbtool" && next == root, path == root:
			case below(path, root) && path != shared && next == shared:
			default:
				t.Errorf("%s imports %s", path, next)
			}
		}
	}
}
