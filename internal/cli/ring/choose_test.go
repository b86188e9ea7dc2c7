package ring

import (
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// A process that has ended does not hide the rings of the others.
func TestTheRingsOfTheProcessesThatLive(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	owner := exec.Command("cat")
	in, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "ring")
	owner.ExtraFiles = []*os.File{file}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	defer owner.Wait()
	defer in.Close()
	c := choice{name: "tail", pids: []uint{4194305, uint(owner.Process.Pid)}, kinds: []ebpf.MapType{ebpf.RingBuf}}
	found, _, err := c.find(false)
	if err != nil || len(found) != 1 || found[0].id != id {
		t.Errorf("found %v, %v", found, err)
	}
	closeChosen(found)
	if _, _, err := c.find(true); err == nil {
		t.Error("a command begins with a process that does not exist")
	}
}
