package claim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// neighbourVar is the environment variable that makes the test binary take a claim, print it, and
// keep it until standard input ends.
const neighbourVar = "RBTOOL_TEST_CLAIM_NEIGHBOUR"

func keepClaim() int {
	id, _, err := Take(new(atomic.Uint64), Gone)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("%016x\n", uint64(id))
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// neighbour starts a process that takes a claim and keeps it, and returns the process and the
// claim.
func neighbour(t *testing.T, cmd *exec.Cmd) (child, ID) {
	t.Helper()
	cmd.Env = append(os.Environ(), neighbourVar+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, cmd)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	var id ID
	if _, e := fmt.Sscanf(line, "%x", &id); err != nil || e != nil {
		t.Fatalf("the process says %q, %v", line, err)
	}
	return c, id
}

// insideVar is the environment variable that makes TestClaimsWithinAContainer check claims; without
// it the test starts itself in a pid namespace.
const insideVar = "RBTOOL_TEST_CLAIM_INSIDE"

// A process in a container finds other processes of the container in /proc, without privileges.
func TestClaimsWithinAContainer(t *testing.T) {
	if os.Getenv(insideVar) == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("unshare", "--pid", "--mount-proc", "--fork", "--kill-child", exe, "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), insideVar+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	c, id := neighbour(t, exec.Command("/proc/self/exe"))
	if own := uint32(c.Process.Pid); id.PID() != own || self.onHost() {
		t.Fatalf("process %d has the claim %#x", own, uint64(id))
	}
	drop(t)
	if state, pid := id.find(); state != Alive || pid != id.PID() {
		t.Errorf("a process that runs: state %d of process %d", state, pid)
	}
	other := id.process()
	other.start ^= 2
	if state, _ := newID(other, 1).find(); state != Unknown {
		t.Errorf("a claim that may be of another container: state %d", state)
	}
	if state := newID(self, 1).State(); state != Unknown {
		t.Errorf("an earlier image of this process, or its twin in another container: state %d", state)
	}
}

// drop gives up the privileges of this process.
func drop(t *testing.T) {
	t.Helper()
	const nobody = 65534
	if err := errors.Join(unix.Setgroups(nil), unix.Setgid(nobody), unix.Setuid(nobody)); err != nil {
		t.Fatal(err)
	}
}

// A process without /proc can claim rings. Others then know only whether a process with its pid
// lives.
func TestAClaimWithoutProc(t *testing.T) {
	skipOutsideInitial(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, id := neighbour(t, exec.Command("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec "+exe))
	if want := (process{pid: uint32(c.Process.Pid)}); id.process() != want {
		t.Errorf("it claims as %+v, want %+v", id.process(), want)
	}
	if state := id.State(); state != Unknown {
		t.Errorf("state %d while it lives, want %d", state, Unknown)
	}
	c.stdin.Close()
	c.Wait()
	if state := id.State(); state != Gone {
		t.Errorf("state %d after its end, want %d", state, Gone)
	}
}
