package arenamem

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/testenv"
)

// helperVariable makes the test binary do a helper's work instead of tests.
const helperVariable = "RBTOOL_ARENA_HELPER"

// helpers are what other processes do in tests, with the arena that they got. They
// print what they find, and end when their input does.
var helpers = map[string]func(a *Arena, in *bufio.Reader) error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		if err := runHelper(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testenv.Main(m))
}

func runHelper(name string) error {
	m, err := ebpf.NewMapFromFD(3)
	if err != nil {
		return err
	}
	a, err := Open(m)
	if err != nil {
		return err
	}
	defer a.Close()
	return helpers[name](a, bufio.NewReader(os.Stdin))
}

// process is a helper that runs.
type process struct {
	tb  testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startHelper starts a process that maps a and runs the helper.
func startHelper(tb testing.TB, name string, a *Arena) *process {
	tb.Helper()
	fd, err := a.Map().Clone()
	if err != nil {
		tb.Fatal(err)
	}
	defer fd.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	cmd.Stderr = os.Stderr
	file := os.NewFile(uintptr(dup(tb, fd.FD())), "arena")
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
	p := &process{tb, cmd, in, bufio.NewReader(out)}
	tb.Cleanup(func() {
		if cmd.ProcessState == nil {
			p.kill()
		}
	})
	return p
}

// line returns the next line that the helper prints.
func (p *process) line() string {
	p.tb.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil {
		p.tb.Fatalf("helper: %v (it printed %q)", err, text)
	}
	return strings.TrimSuffix(text, "\n")
}

// finish closes the helper's input and waits for its end.
func (p *process) finish() {
	p.tb.Helper()
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		p.tb.Errorf("helper: %v", err)
	}
}

// kill ends the helper with SIGKILL.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.in.Close()
}
