package claim

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(leaderVar) != "" {
		endLeader()
	}
	if states := os.Getenv(statesVar); states != "" {
		os.Exit(judge(states))
	}
	os.Exit(testenv.Main(m))
}

// In the initial namespaces, as here, what BPF says must agree with /proc.
func TestBothWaysToFindThisProcessAgree(t *testing.T) {
	skipOutsideInitial(t)
	inProc, err := identityInProc()
	if err != nil {
		t.Fatal(err)
	}
	byBPF, err := identityByBPF()
	if err != nil {
		t.Fatal(err)
	}
	if inProc != byBPF {
		t.Errorf("/proc says %+v, BPF %+v", inProc, byBPF)
	}
}

func skipOutsideInitial(t *testing.T) {
	t.Helper()
	if host, err := seesHost(); err != nil || !host {
		testenv.SkipWithout(t, "initial-pid-namespace", errors.Join(err, errors.New("this process is in another")))
	}
}

func TestAFailureToFindThisProcessIsNotKept(t *testing.T) {
	identity = once.Func(findIdentity) // forget it
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
