package leaves

import (
	"bufio"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLeavesAProcessThatWrites(t *testing.T) {
	// Do nothing outside a guest, where the process would remain.
	if _, err := os.Stat("/media/plan.json"); err != nil {
		t.Fatalf("not in a guest of vmtest: %v", err)
	}
	noise := exec.Command("/bin/sh", "-c", "echo started >&2; while :; do echo noise; done")
	noise.Stdout, noise.SysProcAttr = os.Stdout, &unix.SysProcAttr{Setsid: true}
	started, err := noise.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := noise.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(started).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}
