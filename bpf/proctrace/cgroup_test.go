package proctrace

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

// TestCgroup checks the cgroup in the events of a process that starts in another cgroup than its
// parent's.
func TestCgroup(t *testing.T) {
	testenv.NoLeaks(t)
	dir, err := os.MkdirTemp(cgroup2(t), "rbtool-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	fd, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	st, err := fd.Stat()
	if err != nil {
		t.Fatal(err)
	}
	want := st.Sys().(*syscall.Stat_t).Ino

	tr := trace(t, Options{})
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	events := of(drain(t, tr), cmd.Process.Pid)
	if len(events) != 3 {
		t.Fatalf("%d events, want 3: %+v", len(events), events)
	}
	for _, e := range events {
		if e.CgroupID != want {
			t.Errorf("%s in cgroup %d, want %d", e.Type, e.CgroupID, want)
		}
	}
}

// cgroup2 creates a cgroup for the test and returns its directory.
func cgroup2(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return filepath.Join(f[1], ownCgroup(t))
		}
	}
	testenv.SkipWithout(t, "cgroup2", errors.New("not mounted"))
	return ""
}

func ownCgroup(t *testing.T) string {
	t.Helper()
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(cgroups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	t.Fatal("no cgroup v2 of this process")
	return ""
}
