package ringbuf_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
)

const ciliumModule = "github.com/cilium/ebpf"

// shim is the source of a package with the names of this one. The constant is for the tests of
// cilium/ebpf.
const shim = `package ringbuf

import ours "github.com/rbtool/rbtool/consumer/ringbuf"

type (
	Reader = ours.Reader
	Record = ours.Record
)

var (
	ErrClosed  = ours.ErrClosed
	ErrFlushed = ours.ErrFlushed
	NewReader  = ours.NewReader
)

const ringbufHeaderSize = 8
`

// The tests and benchmarks of cilium/ebpf's package ringbuf, from the module cache, pass with this
// package in its place.
func TestCiliumSuite(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		testenv.SkipWithout(t, "go-tool", err)
	}
	modfile, suite := replaceCilium(t)
	if err := goTool("list", "-deps", "-test", "-modfile", modfile, ciliumModule+"/ringbuf").Run(); err != nil {
		testenv.SkipWithout(t, "modules of cilium/ebpf's tests", explain(err))
	}

	args := []string{"test", "-modfile", modfile, "-json", "-bench=.", "-benchtime=10x"}
	if testenv.Race {
		args = append(args, "-race")
	}
	out, err := goTool(append(args, ciliumModule+"/ringbuf")...).Output()
	want, got := map[string]string{}, map[string]string{}
	for _, name := range suite {
		want[name] = "pass"
	}
	for events := json.NewDecoder(bytes.NewReader(out)); ; {
		var event struct{ Action, Test string }
		if err := events.Decode(&event); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if _, listed := want[event.Test]; listed {
			got[event.Test] = event.Action // the last action is the result
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("results (-want +got):\n%s%v\n%s", diff, explain(err), out)
	}
}

// replaceCilium makes a copy of the module cilium/ebpf whose package ringbuf is this package. It
// returns a go.mod that uses the copy, and the names of the tests of the original package.
func replaceCilium(t *testing.T) (modfile string, suite []string) {
	t.Helper()
	out, err := goTool("list", "-m", "-f", "{{.Dir}}", ciliumModule).Output()
	if err != nil {
		t.Fatal(explain(err))
	}
	source := strings.TrimSpace(string(out))
	if source == "" {
		testenv.SkipWithout(t, "modules of cilium/ebpf's tests", errors.New("not in the module cache"))
	}
	dir := t.TempDir()
	cilium := filepath.Join(dir, "ebpf")
	if err := os.CopyFS(cilium, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(cilium, "ringbuf", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			suite = append(suite, testsIn(t, name)...)
		} else if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if len(suite) == 0 {
		t.Fatalf("no tests among %v", files)
	}
	write(t, filepath.Join(cilium, "ringbuf", "shim.go"), []byte(shim))

	modfile = filepath.Join(dir, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), text)
	}
	if err := goTool("mod", "edit", "-replace", ciliumModule+"="+cilium, modfile).Run(); err != nil {
		t.Fatal(explain(err))
	}
	return modfile, suite
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(\w+ \*testing\.T\)`)

// testsIn returns the names of the tests in a file.
func testsIn(t *testing.T, file string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range testFunc.FindAllSubmatch(text, -1) {
		names = append(names, string(match[1]))
	}
	return names
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// goTool returns a command that runs the go tool.
func goTool(args ...string) *exec.Cmd { return exec.Command("go", args...) }

// explain adds what a command wrote to stderr to its error.
func explain(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return errors.Join(err, errors.New(string(exit.Stderr)))
	}
	return err
}
