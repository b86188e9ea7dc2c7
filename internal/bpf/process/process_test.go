package process_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/process"
	"github.com/rbtool/rbtool/internal/proc"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

const startMask = 1<<process.StartBits - 1

// startOf returns the start time of a process in the form of Wanted.Start.
func startOf(t *testing.T, pid int) uint32 {
	t.Helper()
	s, err := proc.ReadStat(proc.Dir(uint32(pid)))
	if err != nil {
		t.Fatal(err)
	}
	return max(uint32(s.Start)&startMask, 1)
}

func TestFindSeesAProcessUntilItEnds(t *testing.T) {
	testenv.NoLeaks(t)
	if initial, err := proc.InitialPIDNamespace(); err != nil || !initial {
		t.Skip("this process is not in the initial pid namespace: its pids are others")
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, start := uint32(cmd.Process.Pid), startOf(t, cmd.Process.Pid)
	check := func(rule string, own, start, want uint32) {
		t.Helper()
		for _, initial := range []bool{false, true} {
			found, err := process.Find(process.Wanted{PID: own, Initial: initial, Start: start})
			if err != nil || found != want {
				t.Errorf("%s, initial %t: found %d, %v; want %d", rule, initial, found, err, want)
			}
		}
	}
	check("a running process", pid, start, pid)
	check("with any start time", pid, 0, pid)
	check("with another start time", pid, start^2, 0)
	check("the caller itself", uint32(os.Getpid()), startOf(t, os.Getpid()), 0)
	stdin.Close()
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	check("a zombie", pid, start, 0)
	cmd.Wait()
	for _, pid := range []uint32{pid, 0, 1<<22 - 1, 1 << 22, 1<<32 - 1} {
		check("a process that does not exist", pid, 0, 0)
	}
}

// A process in other pid and time namespaces is found by the pid and start time that it reads of itself.
func TestFindSeesProcessesOfOtherNamespaces(t *testing.T) {
	testenv.NoLeaks(t)
	cmd := exec.Command("unshare", "--pid", "--mount-proc", "--time", "--boottime", "123456", "--fork", "--kill-child",
		"sh", "-c", "read -r stat </proc/self/stat; echo $stat; read -r _")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	fields := strings.Fields(line)
	if len(fields) < 22 || fields[0] != "1" {
		t.Fatalf("the process says %q, %v", line, err)
	}
	ticks, err := strconv.ParseUint(fields[21], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	wanted := process.Wanted{PID: 1, Start: max(uint32(ticks)&startMask, 1)}
	pid, err := process.Find(wanted)
	if err != nil || pid <= 1 {
		t.Errorf("found %d, %v", pid, err)
	}
	inode, err := proc.PIDNamespace(proc.Dir(pid))
	if err != nil {
		t.Fatal(err)
	}
	wanted.Namespace = process.NamespaceOf(inode)
	if found, err := process.Find(wanted); err != nil || found != pid {
		t.Errorf("with its namespace: found %d, %v; want %d", found, err, pid)
	}
	wanted.Namespace = process.NamespaceOf(inode + 1)
	if pid, err := process.Find(wanted); err != nil || pid != 0 {
		t.Errorf("with another namespace: found %d, %v", pid, err)
	}
	wanted.Namespace, wanted.Initial = 0, true
	if pid, err := process.Find(wanted); err != nil || pid != 0 {
		t.Errorf("in the initial namespace: found %d, %v", pid, err)
	}
	stdin.Close()
	cmd.Wait()
	wanted.Initial = false
	if pid, err := process.Find(wanted); err != nil || pid != 0 {
		t.Errorf("after its end: found %d, %v", pid, err)
	}
}
