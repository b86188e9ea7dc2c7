package claim

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/proc"
)

// statesVar is the environment variable with IDs, each with the state that a process in other
// namespaces must find for it.
const statesVar = "RBTOOL_TEST_CLAIM_STATES"

// judge checks the states of the claims in text. It then takes a claim, prints it, and keeps it
// until standard input ends.
func judge(text string) int {
	if err := judgeAll(text); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func judgeAll(text string) error {
	for len(text) > 0 {
		var id ID
		var want State
		n := len("0123456789abcdef 0 ")
		if _, err := fmt.Sscanf(text[:n], "%x %d", &id, &want); err != nil {
			return err
		}
		if state := id.State(); state != want {
			return fmt.Errorf("claim %#x of process %d: state %d, want %d", uint64(id), id.PID(), state, want)
		}
		text = text[n:]
	}
	var word atomic.Uint64
	own, _, err := Take(&word, Gone)
	if err != nil {
		return err
	}
	fmt.Printf("%016x\n", uint64(own))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// namespaceStates returns claims and their states for statesVar.
func namespaceStates(t *testing.T) (text string) {
	t.Helper()
	ended := start(t, exec.Command("cat"))
	endedID := ended.id(t)
	ended.stdin.Close()
	ended.Wait()
	own := take(t, new(atomic.Uint64), Gone)
	for _, tt := range []struct {
		id   ID
		want State
	}{
		{own, Alive},
		{endedID, Gone},
		{newID(process{own.PID(), own.process().start - 1, 0}, 1), Gone}, // an earlier process with this pid
		// In its namespace the other process has pid 1.
		{newID(process{1, 1, 0}, 1), Gone},
		{newID(process{1, 1, 7}, 1), Gone},
		{newID(process{1<<22 - 1, 1, 0}, 1), Gone},
	} {
		text += fmt.Sprintf("%016x %d ", uint64(tt.id), tt.want)
	}
	return text
}

func TestClaimsAreTheSameInOtherNamespaces(t *testing.T) {
	skipOutsideInitial(t)
	states := namespaceStates(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{
		"pid":  {"--pid", "--mount-proc"},
		"time": {"--time"},
		"both": {"--pid", "--mount-proc", "--time", "--boottime", "100000"},
	} {
		t.Run(name, func(t *testing.T) {
			// Before Linux 6.3 a process that unshares its time namespace stays in the old one;
			// only its children are in the new one.
			cmd := exec.Command("unshare", append(flags, "--fork", "--kill-child", exe)...)
			cmd.Env = append(os.Environ(), statesVar+"="+states)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			c := start(t, cmd)
			line, err := bufio.NewReader(stdout).ReadString('\n')
			var id ID
			if _, e := fmt.Sscanf(line, "%x", &id); err != nil || e != nil {
				t.Fatalf("the process says %q, %v", line, err)
			}
			state, pid := id.find()
			own, err := proc.OwnPID(proc.Dir(pid))
			if state != Alive || err != nil || own != id.PID() || own == 1 != strings.Contains(strings.Join(flags, " "), "--pid") {
				t.Errorf("its claim is %#x, state %d: process %d, itself %d, %v", uint64(id), state, pid, own, err)
			}
			if state, found := id.process().findByBPF(); state != Alive || found != pid {
				t.Errorf("by BPF: state %d of process %d, want %d", state, found, pid)
			}
			if err := unix.Kill(int(pid), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			c.Wait()
			if state := id.State(); state != Gone {
				t.Errorf("state %d of its claim after its end", state)
			}
		})
	}
}
