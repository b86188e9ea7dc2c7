package testenv

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// roleVar is the environment variable that makes a test binary play a role instead of running
// tests.
const roleVar = "RBTOOL_TEST_ROLE"

// Process is another process of this test binary, which a test started to play a role.
type Process struct {
	*exec.Cmd
	stdin io.WriteCloser
	said  *bufio.Reader
}

// Start starts this test binary in a role. Its descriptor 3 is m, and files are its descriptors
// from 4 on. The process is killed when the test ends. TestMain must call [Role] and [Play].
func Start(tb testing.TB, role string, m *ebpf.Map, files ...*os.File) *Process {
	tb.Helper()
	return StartWith(tb, syscall.SysProcAttr{}, role, m, files...)
}

// StartWith is [Start] with the attributes attr of the process.
func StartWith(tb testing.TB, attr syscall.SysProcAttr, role string, m *ebpf.Map, files ...*os.File) *Process {
	tb.Helper()
	return start(tb, "/proc/self/exe", attr, role, m, files...)
}

// StartFile is [Start] with another executable, a copy of this test binary that can have more in it.
func StartFile(tb testing.TB, file, role string, m *ebpf.Map) *Process {
	tb.Helper()
	return start(tb, file, syscall.SysProcAttr{}, role, m)
}

func start(tb testing.TB, file string, attr syscall.SysProcAttr, role string, m *ebpf.Map, files ...*os.File) *Process {
	tb.Helper()
	dup, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	ring := os.NewFile(uintptr(dup), "ring")
	defer ring.Close()
	cmd := exec.Command(file)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = append([]*os.File{ring}, files...)
	attr.Pdeathsig = unix.SIGKILL
	cmd.SysProcAttr = &attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &Process{cmd, stdin, bufio.NewReader(stdout)}
	tb.Cleanup(p.Kill)
	return p
}

// Line waits for the next line that the process prints.
func (p *Process) Line(tb testing.TB) string {
	tb.Helper()
	said, err := p.said.ReadString('\n')
	line, whole := strings.CutSuffix(said, "\n")
	if !whole {
		tb.Fatalf("the other process says %q, then %v", said, err)
	}
	return line
}

// Expect waits for the next line that the process prints, and fails the test unless it is line.
func (p *Process) Expect(tb testing.TB, line string) {
	tb.Helper()
	if said := p.Line(tb); said != line {
		tb.Fatalf("the other process says %q, want %q", said, line)
	}
}

// Tell writes line to the process's standard input.
func (p *Process) Tell(tb testing.TB, line string) {
	tb.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		tb.Fatal(err)
	}
}

// ExpectKilled waits until the process is killed by SIGKILL. It fails the test if the process
// prints anything more.
func (p *Process) ExpectKilled(tb testing.TB) {
	tb.Helper()
	said, _ := io.ReadAll(p.said)
	err := p.Wait()
	if status := p.ProcessState.Sys().(syscall.WaitStatus); len(said) > 0 || status.Signal() != unix.SIGKILL {
		tb.Fatalf("the other process said %q and ended: %v", said, err)
	}
}

// End closes the process's standard input and waits until it has ended.
func (p *Process) End() {
	p.stdin.Close()
	p.Wait()
}

// Kill kills the process and waits until it has ended.
func (p *Process) Kill() {
	p.Process.Kill()
	p.Wait()
}

// Role returns the role in which [Start] started this process, or "" if it must run tests.
func Role() string { return os.Getenv(roleVar) }

// Play calls act with the role of this process and the map passed to [Start]. It prints the error
// of act on standard output, and returns the exit status of the process.
func Play(act func(role string, m *ebpf.Map) error) int {
	m, err := ebpf.NewMapFromFD(3)
	if err == nil {
		defer m.Close()
		err = act(Role(), m)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// Ready prints "ready" and returns when standard input ends.
func Ready() error {
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// Exec prints "ready" and executes this test binary again in another role. Pid and start time of
// the process stay the same.
func Exec(role string, m *ebpf.Map) error {
	fmt.Println("ready")
	if err := os.Setenv(roleVar, role); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(m.FD()), unix.F_SETFD, 0); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

// Running starts cmd, waits for its first byte of output and returns its standard input. Until a process runs, which can
// be after Start, the kernel may still show the name, the executable and the arguments of its parent.
func Running(t *testing.T, cmd *exec.Cmd) (stdin io.Closer) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return in
}
