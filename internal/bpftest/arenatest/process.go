package arenatest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/testenv"
)

// helperVariable is an environment variable. If it is set, the test binary runs the helper of that name
// instead of the tests.
const helperVariable = "RBTOOL_ARENA_HELPER"

// Helper is what a helper process does with an arena. It prints its results, and returns at the end of
// its input.
type Helper func(a *arena.Arena, in *bufio.Reader) error

// Main runs the tests, or in a helper process the helper. TestMain calls it with all helpers of the
// package.
func Main(m *testing.M, helpers map[string]Helper) {
	name := os.Getenv(helperVariable)
	if name == "" {
		os.Exit(testenv.Main(m, "arena-cast"))
	}
	if err := runHelper(helpers[name]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runHelper(work Helper) error {
	m, err := ebpf.NewMapFromFD(3)
	if err != nil {
		return err
	}
	a, err := arena.Open(m)
	if err != nil {
		return err
	}
	defer a.Close()
	return work(a, bufio.NewReader(os.Stdin))
}

// Process is a helper process.
type Process struct {
	In io.WriteCloser // the helper's input

	tb  testing.TB
	cmd *exec.Cmd
	out *bufio.Reader
}

// Start starts a process that maps the arena a and runs the helper called name. The process is killed
// when the test ends.
func Start(tb testing.TB, name string, a *arena.Arena) *Process {
	tb.Helper()
	fd, err := unix.FcntlInt(uintptr(a.Map().FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	cmd.Stderr = os.Stderr
	file := os.NewFile(uintptr(fd), "arena")
	defer file.Close()
	cmd.ExtraFiles = []*os.File{file}
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &Process{in, tb, cmd, bufio.NewReader(out)}
	tb.Cleanup(p.Kill)
	return p
}

// Line returns the next line that the helper prints.
func (p *Process) Line() string {
	p.tb.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil {
		p.tb.Fatalf("helper: %v (it printed %q)", err, text)
	}
	return strings.TrimSuffix(text, "\n")
}

// Finish closes the helper's input and waits until the process exits.
func (p *Process) Finish() {
	p.tb.Helper()
	p.In.Close()
	if err := p.cmd.Wait(); err != nil {
		p.tb.Errorf("helper: %v", err)
	}
}

// Kill ends the helper with SIGKILL, if it still runs.
func (p *Process) Kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.In.Close()
}
