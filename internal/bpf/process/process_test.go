package process_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// The start times are compared with those of /proc in package claim.
func TestLookFindsAProcessUntilItEnds(t *testing.T) {
	testenv.NoLeaks(t)
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Look(self)
	if err != nil || p == nil || !p.Live {
		t.Fatalf("this process: %+v, %v", p, err)
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	child, err := process.Look(pid)
	if err != nil || child == nil || !child.Live {
		t.Errorf("a running process: %+v, %v", child, err)
	}
	stdin.Close()
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	zombie, err := process.Look(pid)
	if err != nil || zombie == nil || zombie.Live || zombie.Start != child.Start {
		t.Errorf("a zombie: %+v, %v", zombie, err)
	}
	cmd.Wait()
	for _, pid := range []uint32{pid, 0, 1<<22 - 1, 1 << 22, 1<<32 - 1} {
		if p, err := process.Look(pid); err != nil || p != nil {
			t.Errorf("process %d, which does not exist: %+v, %v", pid, p, err)
		}
	}
}
