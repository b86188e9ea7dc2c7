package claim

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/proc"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(leaderVar) != "" {
		endLeader()
	}
	if states := os.Getenv(statesVar); states != "" {
		os.Exit(judge(states))
	}
	if os.Getenv(neighbourVar) != "" {
		os.Exit(keepClaim())
	}
	os.Exit(testenv.Main(m))
}

func TestThisProcess(t *testing.T) {
	s, err := proc.ReadStat("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := proc.InitialPIDNamespace()
	times, e := proc.InitialTimeNamespace()
	if want := startOf(s.Start); err != nil || e != nil || int(self.pid) != os.Getpid() || self.start != want || self.onHost() != (pids && times) {
		t.Errorf("it is %+v, start time %d, initial namespaces %t and %t", self, want, pids, times)
	}
}

func skipOutsideInitial(t *testing.T) {
	t.Helper()
	if !self.onHost() {
		testenv.SkipWithout(t, "initial-pid-namespace", errors.New("this process is in another"))
	}
}

// An opener of an unclaimed ring opens no file.
func TestTakeNeedsNoDescriptor(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	var word atomic.Uint64
	id, _, err := Take(&word, Gone)
	_, _, second := Take(&word, Gone)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err != nil || !errors.Is(second, ErrBusy) {
		t.Errorf("without descriptors: %v, then %v", err, second)
	}
	id.Release(&word)
}
