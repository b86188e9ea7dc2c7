package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// holdElsewhere starts a process, cat, that holds m until the test ends. It runs in the given cgroup, a directory, or if that
// is empty in that of the test.
func holdElsewhere(t *testing.T, m *ebpf.Map, cgroup string) {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), m.String())
	defer file.Close()
	cmd := exec.Command("cat")
	cmd.ExtraFiles = []*os.File{file}
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
}

// newCgroup creates a cgroup with the given path, which the test removes.
func newCgroup(t *testing.T, path string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup2" {
			continue
		}
		top, err := os.MkdirTemp(f[1], "rbtool-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(top) })
		dir := filepath.Join(top, path)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	testenv.SkipWithout(t, "cgroup2", errors.New("not mounted"))
	return ""
}

func TestOwnersAreToldWithTheirContainer(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	m, path := pinnedRing(t, testenv.PageSize)
	holdElsewhere(t, m, newCgroup(t, "docker-"+id+".scope"))
	out, err := rbtool(t, "inspect", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte(" in docker:0123456789ab): holds a descriptor")) {
		t.Errorf("got\n%s", out)
	}
	if testing.Short() {
		return
	}
	if out, err = rbtool(t, "ls").Output(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte(")@docker:0123456789ab")) {
		t.Errorf("got\n%s", out)
	}
	if out, err = rbtool(t, "inspect", path, "-o", "json").Output(); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Owners []struct{ Comm, Runtime, Container string }
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for _, o := range got.Owners {
		if o.Comm == "cat" && (o.Runtime != "docker" || o.Container != id) {
			t.Errorf("got %+v", o)
		}
	}
}
