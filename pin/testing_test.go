package pin_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// stage is the stage given to rerun in a test process that rerun started, otherwise empty.
var stage = os.Getenv("RBTOOL_TEST_STAGE")

const (
	inPrivateMounts = "in private mounts"
	nobody          = "nobody"
)

func TestMain(m *testing.M) {
	if stage == nobody {
		os.Exit(m.Run()) // a process that rerun started cannot change limits
	}
	os.Exit(testenv.Main(m))
}

// rerun runs a test again in a new process with the given attributes.
func rerun(t *testing.T, test, stage string, attr *syscall.SysProcAttr, env ...string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), "RBTOOL_TEST_STAGE="+stage), env...)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	t.Logf("%s: %s", stage, out)
	if err != nil {
		t.Errorf("%s: %v", stage, err)
	}
}

// privateMounts runs the calling test again in a process with a new mount namespace. It returns true in that
// process, and false in the process that started it.
func privateMounts(t *testing.T) bool {
	t.Helper()
	if stage != "" {
		return true
	}
	rerun(t, t.Name(), inPrivateMounts, &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS})
	return false
}

// asNobody runs the calling test again in a process of a user without capabilities. It returns true in that
// process, and false in the process that started it.
func asNobody(t *testing.T, env ...string) bool {
	t.Helper()
	if stage == nobody {
		return true
	}
	rerun(t, t.Name(), nobody, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, env...)
	return false
}

// publicBPFFS returns a directory on which a bpffs for all users is mounted.
func publicBPFFS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	mountBPFFS(t, dir)
	return dir
}

// mountBPFFS creates dir and mounts a bpffs for all users on it.
func mountBPFFS(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0777"); err != nil {
		t.Fatalf("mount bpffs on %s: %v", dir, err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

func hashMap(t *testing.T) *ebpf.Map {
	t.Helper()
	return testenv.Map(t, &ebpf.MapSpec{Name: "test_hash", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
}

func program(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "test_prog",
		Type:         ebpf.RawTracepoint,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

// tree lists the entries in and below dir, relative to it.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			paths = append(paths, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// wantError fails the test unless err matches want, or both are nil, and has the text.
func wantError(t *testing.T, err, want error, text string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want one matching %v", err, want)
	}
	if err != nil && err.Error() != text {
		t.Errorf("got message\n\t%s\nwant\n\t%s", err, text)
	}
}
