package userprod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// roleVar is the environment variable that makes the test binary play a role
// instead of testing.
const roleVar = "RBTOOL_TEST_ROLE"

// actor is a process that a test started to do something with a ring.
type actor struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	said  *bufio.Reader
}

// start runs this test binary in a role, with the map m as its descriptor 3 and file,
// if any, as 4.
func start(tb testing.TB, role string, m *ebpf.Map, file *os.File) *actor {
	tb.Helper()
	return startWith(tb, syscall.SysProcAttr{}, role, m, file)
}

// startWith is start with attributes of the process.
func startWith(tb testing.TB, attr syscall.SysProcAttr, role string, m *ebpf.Map, file *os.File) *actor {
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
	if file != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
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

// died waits until the actor has died of SIGKILL, without a word.
func (a *actor) died(tb testing.TB) {
	tb.Helper()
	said, _ := io.ReadAll(a.said)
	err := a.cmd.Wait()
	if status := a.cmd.ProcessState.Sys().(syscall.WaitStatus); len(said) > 0 || status.Signal() != unix.SIGKILL {
		tb.Fatalf("the other process said %q and ended: %v", said, err)
	}
}

// end lets the actor end by itself, kill does not. Both return when it is gone.
func (a *actor) end() {
	a.stdin.Close()
	a.cmd.Wait()
}

func (a *actor) kill() {
	a.cmd.Process.Kill()
	a.cmd.Wait()
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
	var arg int
	word, _, err := split(role, &arg)
	if err != nil {
		return err
	}
	switch word {
	case "produce":
		p, err := New(m, Options{})
		if err != nil {
			return err
		}
		defer p.Close()
	case "close": // first as where memory may not be overcommitted
		return closeTwice(m)
	case "exec": // as a program that runs another one
		if _, err := New(m, Options{}); err != nil {
			return err
		}
		return reexec("produce", m)
	case "bare":
		return bare(m)
	case "die":
		err = dieAt(arg, m)
	case "work":
		err = work(uint32(arg), m)
	case "scribble":
		return scribble(m)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

// bareVar names an empty directory.
const bareVar = "RBTOOL_TEST_BARE"

// bare writes a sample as a process that can open no file and load no program.
func bare(m *ebpf.Map) error {
	dir := os.Getenv(bareVar)
	const nobody = 65534
	if err := errors.Join(unix.Chroot(dir), unix.Chdir("/"), unix.Setgroups(nil), unix.Setgid(nobody), unix.Setuid(nobody)); err != nil {
		return err
	}
	p, err := New(m, Options{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return errors.Join(one(p, 0), p.Close())
}

// closeTwice closes a Producer at first without the memory that this takes. It says when
// that has failed, waits for a line, and closes it again.
func closeTwice(m *ebpf.Map) error {
	p, err := New(m, Options{})
	if err != nil {
		return err
	}
	s, err := p.TryReserve(8)
	if err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return err
	}
	// It refuses private memory, as vm.overcommit_memory=2 does, but to this process alone.
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: 4096, Max: limit.Max}); err != nil {
		return err
	}
	failed := p.Close()
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return err
	}
	if !errors.Is(failed, unix.ENOMEM) {
		return fmt.Errorf("Close without memory: %w", failed)
	}
	s.Bytes()[0] = 1 // is what the claim must stay for
	fmt.Println("failed")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	fmt.Println("closed")
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

func split(role string, arg *int) (word string, n int, err error) {
	n, err = fmt.Sscan(role, &word, arg)
	if n == 1 {
		err = nil
	}
	return word, n, err
}

// die ends this process as kill -9 does.
func die() {
	unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}
