package claim

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/proc"
)

// hiddenEnv is the environment variable with an ID, for a process that cannot see the holder of
// that ID.
const hiddenEnv = "RBTOOL_TEST_HIDDEN_OWNER"

// The state of a process that /proc hides is Unknown, not Gone.
func TestAProcessThatIsHiddenIsNotGone(t *testing.T) {
	if text := os.Getenv(hiddenEnv); text != "" {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		checkHidden(t, ID(id))
		return
	}
	skipOutsideInitial(t)
	self := take(t, new(atomic.Uint64), Gone)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), hiddenEnv+"="+strconv.FormatUint(uint64(self), 10))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS} // with private mounts
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// checkHidden hides the processes of other users from this process, and checks the states of such a
// process and of a process that does not exist.
func checkHidden(t *testing.T, id ID) {
	if err := unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"); err != nil {
		t.Fatalf("mount /proc: %v", err)
	}
	const nobody = 65534 // this user is in no group that hidepid exempts
	if err := errors.Join(unix.Setgroups(nil), unix.Setgid(nobody), unix.Setuid(nobody)); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.ReadStat(proc.Dir(id.PID())); err == nil {
		t.Fatal("the process is not hidden")
	}
	if state := id.State(); state != Unknown {
		t.Errorf("a hidden process: state %d, want %d", state, Unknown)
	}
	checkTake(t, id, Gone, false)
	checkTake(t, id, Unknown, true)
	const unused = 1<<22 - 1
	if state := newID(process{unused, 1, 0}, 1).State(); state != Gone {
		t.Errorf("a process that does not exist: state %d, want %d", state, Gone)
	}
}
