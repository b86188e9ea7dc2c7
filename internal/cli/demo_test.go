package cli

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
)

// leftovers lists pins and programs that remain after a demo. The kernel frees a program some time after
// its last user is gone, and no event tells when: leftovers polls for a bounded time.
func leftovers(t *testing.T) (left []string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); command.Pause(t.Context(), lookAgain) {
		if left = pinsAndPrograms(t); len(left) == 0 {
			return nil
		}
	}
	return left
}

// gone reports whether a process group has ended. The process that adopts the group's members may need a
// moment to reap them.
func gone(t *testing.T, group int) bool {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); command.Pause(t.Context(), lookAgain) {
		if err := syscall.Kill(group, 0); err != nil {
			return true
		}
	}
	return false
}

// pinsAndPrograms lists the pins and programs of demos.
func pinsAndPrograms(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob("/sys/fs/bpf/rbtool-demo-*")
	if err != nil {
		t.Fatal(err)
	}
	for id := ebpf.ProgramID(0); ; {
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			return left
		} else if err != nil {
			t.Fatal(err)
		}
		prog, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // the program was unloaded in the meantime
		}
		if info, err := prog.Info(); err == nil && strings.HasPrefix(info.Name, "proctrace_") {
			left = append(left, "program "+info.Name)
		}
		prog.Close()
	}
}

// demoEnd is part of the last line of a demo.
const demoEnd = "rbtool probe proctrace start &&"

func TestDemoShowsEventsAndCleansUp(t *testing.T) {
	testenv.BPFFS(t) // most machines have a bpffs mounted
	out, err := rbtool(t, "demo").Output()
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{"fork_event ", "exec_event ", "exit_event ", `"type":"`, demoEnd}
	if features.HaveMapType(ebpf.UserRingbuf) == nil {
		wanted = append(wanted, "ack_event ", "command=WATCH_COMMAND", "delivered  2")
	}
	// The tail ends after 60 records. On a busy machine, all of them can be from other processes.
	if strings.Count(string(out), "\nexit_event ") < 20 {
		wanted = append(wanted, "exit_code=3", "signal=15")
	}
	for _, want := range wanted {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if left := leftovers(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A terminal sends SIGINT to all processes of the demo. It can come at any moment and more than once.
func TestAnInterruptedDemoCleansUp(t *testing.T) {
	testenv.BPFFS(t)
	times := 10
	if testing.Short() {
		times = 1
	}
	for range times {
		cmd := rbtool(t, "demo")
		cmd.Stderr = nil
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Before its first output, the demo might not handle signals yet.
		out := make([]byte, 1)
		if _, err := io.ReadFull(stdout, out); err != nil {
			t.Fatal(err)
		}
		group := -cmd.Process.Pid
		delay := time.Duration(rand.Int64N(int64(2 * time.Second)))
		interrupt := func() { syscall.Kill(group, syscall.SIGINT) }
		first, second := time.AfterFunc(delay, interrupt), time.AfterFunc(delay+5*time.Millisecond, interrupt)
		rest, err := io.ReadAll(stdout)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		first.Stop()
		second.Stop()
		whole := strings.Contains(string(rest), demoEnd) // on a busy machine the demo can end before it is interrupted
		if code := cmd.ProcessState.ExitCode(); code != command.StatusInterrupted && !(whole && code == command.StatusDone) {
			t.Errorf("interrupted after %v: exit status %d (%v)", delay, code, cmd.ProcessState)
		}
		if left := leftovers(t); len(left) > 0 {
			t.Errorf("interrupted after %v: left behind: %v", delay, left)
			os.RemoveAll(left[0])
		}
		if !gone(t, group) {
			t.Errorf("interrupted after %v: processes left behind", delay)
		}
	}
}
