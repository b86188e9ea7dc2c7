package claim

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/proc"
)

// child is a process that ends when its standard input ends.
type child struct {
	*exec.Cmd
	stdin io.Closer
}

// start runs a command.
func start(t *testing.T, cmd *exec.Cmd) child {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	return child{cmd, stdin}
}

// id returns the ID that an opener in c would put into the claim word.
func (c child) id(t *testing.T) ID {
	t.Helper()
	s, err := proc.ReadStat(proc.Dir(uint32(c.Process.Pid)))
	if err != nil {
		t.Fatal(err)
	}
	return newID(process{uint32(c.Process.Pid), startOf(s.Start), 0}, 1)
}

// ended waits until c has ended and is a zombie.
func (c child) ended(t *testing.T) {
	t.Helper()
	if err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

func TestAProcessIsAliveUntilItEnds(t *testing.T) {
	skipOutsideInitial(t)
	c := start(t, exec.Command("cat"))
	id := c.id(t)
	check := func(what string, id ID, want State) {
		t.Helper()
		p := id.process()
		for way, find := range map[string]func() (State, uint32){"State": id.find, "in /proc": p.findInProc, "by BPF": p.findByBPF} {
			if state, pid := find(); state != want || state == Alive && pid != p.pid {
				t.Errorf("%s, %s: state %d of process %d, want %d of %d", what, way, state, pid, want, p.pid)
			}
		}
	}
	check("a running process", id, Alive)
	check("an earlier process with the same pid", newID(process{id.PID(), id.process().start - 1, 0}, 1), Gone)
	unsure := newID(process{id.PID(), 0, 0}, 1) // the claim of an opener without /proc
	check("a process that may be another one", unsure, Unknown)
	c.stdin.Close()
	c.ended(t)
	check("a zombie", id, Gone)
	check("a zombie that may be another process", unsure, Gone)
	c.Wait()
	check("a process that is gone", id, Gone)
}

// leaderVar is the environment variable that makes the test binary end its first thread and
// continue with the others.
const leaderVar = "RBTOOL_TEST_LEADER_ENDS"

// Until the end of init, the main goroutine runs on the first thread.
func init() {
	if os.Getenv(leaderVar) != "" {
		runtime.LockOSThread()
	}
}

func endLeader() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	unix.Syscall(unix.SYS_EXIT, 0, 0, 0) // ends only the calling thread
}

// If the first thread of a process has ended, /proc shows the process as a zombie, but it is alive.
func TestAProcessWithoutItsFirstThreadIsAlive(t *testing.T) {
	skipOutsideInitial(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), leaderVar+"=1")
	c := start(t, cmd)
	id := c.id(t)
	for {
		s, err := proc.ReadStat(proc.Dir(id.PID()))
		if err != nil {
			t.Fatal(err)
		}
		if s.Ended() {
			break
		}
		runtime.Gosched()
	}
	byBPF, _ := id.process().findByBPF()
	if state := id.State(); state != Alive || byBPF != Alive {
		t.Errorf("states %d and %d while other threads run, want %d", state, byBPF, Alive)
	}
	c.stdin.Close()
	c.ended(t)
	if state := id.State(); state != Gone {
		t.Errorf("state %d when all threads have ended, want %d", state, Gone)
	}
}
