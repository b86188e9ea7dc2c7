package owner

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func TestSelfIsAlive(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if self.PID() == 0 || self.start() == 0 || !self.Alive() {
		t.Errorf("self is %x: pid %d, start %d, alive %t", self, self.PID(), self.start(), self.Alive())
	}
}

// In the initial namespace, as here, what BPF says must agree with getpid(2).
func TestHostPIDIsThatOfTheInitialNamespace(t *testing.T) {
	if !inInitial("pid") {
		testenv.SkipWithout(t, "initial-pid-namespace", errors.New("this process is in another"))
	}
	pid, err := hostPID()
	if err != nil {
		t.Fatal(err)
	}
	if int(pid) != os.Getpid() {
		t.Errorf("bpf_get_current_pid_tgid says %d, getpid %d", pid, os.Getpid())
	}
}

func TestAProcessIsAliveUntilItEnds(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !id.Alive() {
		t.Error("a running process is not alive")
	}
	if earlier := newID(id.PID(), id.start()-1); earlier.Alive() {
		t.Error("an earlier process with the same pid is alive")
	}
	stdin.Close()
	cmd.Wait()
	if id.Alive() {
		t.Error("a process that ended is alive")
	}
}

func TestNobodyIsNotAlive(t *testing.T) {
	if ID(0).Alive() {
		t.Error("the zero ID is alive")
	}
}
