package claim

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(leaderVar) != "" {
		endLeader()
	}
	os.Exit(testenv.Main(m))
}

// In the initial namespace, as here, what BPF says must agree with getpid(2).
func TestHostPIDIsThatOfTheInitialNamespace(t *testing.T) {
	skipOutsideInitial(t)
	pid, err := hostPID()
	if err != nil {
		t.Fatal(err)
	}
	if int(pid) != os.Getpid() {
		t.Errorf("bpf_get_current_pid_tgid says %d, getpid %d", pid, os.Getpid())
	}
}

func skipOutsideInitial(t *testing.T) {
	t.Helper()
	if initial, err := inInitial("pid"); err != nil || !initial {
		testenv.SkipWithout(t, "initial-pid-namespace", errors.Join(err, errors.New("this process is in another")))
	}
}

func TestAFailureToFindThisProcessIsNotKept(t *testing.T) {
	forget()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, err := open()
	if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Fatalf("without descriptors: %v", err)
	}
	id, err := open()
	if err != nil {
		t.Fatalf("with descriptors again: %v", err)
	}
	closeID(id)
}

// forget makes the next identity look again.
func forget() {
	self.Lock()
	defer self.Unlock()
	self.process = process{}
}
