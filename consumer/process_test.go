package consumer_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
)

// roleVar is the environment variable that makes the test binary play a role
// instead of testing.
const roleVar = "RBTOOL_TEST_ROLE"

// actor is a process that a test started to do something with a ring.
type actor struct {
	*exec.Cmd
	stdin io.Closer
	said  *bufio.Reader
}

// start runs this test binary in a role, with the map m as its descriptor 3.
func start(tb testing.TB, role string, m *ebpf.Map) *actor {
	tb.Helper()
	dup, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	ring := os.NewFile(uintptr(dup), "ring")
	defer ring.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{ring}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
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
	a := &actor{cmd, stdin, bufio.NewReader(stdout)}
	tb.Cleanup(a.kill)
	return a
}

// expect waits until the actor says line.
func (a *actor) expect(tb testing.TB, line string) {
	tb.Helper()
	if said, err := a.said.ReadString('\n'); said != line+"\n" {
		tb.Fatalf("the other process says %q, %v; want %q", said, err, line)
	}
}

// end lets the actor end by itself, kill does not. Both return when it is gone.
func (a *actor) end() {
	a.stdin.Close()
	a.Wait()
}

func (a *actor) kill() {
	a.Process.Kill()
	a.Wait()
}

// play is what a process started by start does.
func play(role string) int {
	m, err := ebpf.NewMapFromFD(3)
	if err == nil {
		err = act(role, m)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// act does what the role says, and ends when standard input does.
func act(role string, m *ebpf.Map) error {
	defer m.Close()
	switch role {
	case "claim":
		r, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			return err
		}
		defer r.Close()
	case "exec": // as a program that runs another one
		if _, err := consumer.NewReader(m, consumer.Options{}); err != nil {
			return err
		}
		return reexec("claim", m)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// reexec goes on as another program with the same pid and start time, in a role.
func reexec(role string, m *ebpf.Map) error {
	fmt.Println("ready")
	if err := os.Setenv(roleVar, role); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(m.FD()), unix.F_SETFD, 0); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}
