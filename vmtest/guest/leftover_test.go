package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// killDescendants also kills processes in another session, and those whose parent has ended.
func TestProcessesThatABinaryLeavesAreKilled(t *testing.T) {
	if err := adopt(); err != nil {
		t.Fatal(err)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	script := "mkfifo started; setsid sh -c 'sleep 600 & echo $$ >started; exec sleep 600' & read pid <started; echo $pid"
	exit := execute(Binary{Path: shell, Dir: t.TempDir(), Args: []string{"-c", script}, Limit: time.Minute}, os.Environ(), out)
	if exit.Code != 0 || exit.Error != "" {
		t.Fatalf("%+v", exit)
	}
	left, err := children()
	if err != nil || len(left) != 1 {
		t.Fatalf("children %v, %v; want one left", left, err)
	}
	if err := killDescendants(); err != nil {
		t.Fatal(err)
	}
	if left, err := children(); err != nil || len(left) != 0 {
		t.Errorf("children %v, %v", left, err)
	}
}
