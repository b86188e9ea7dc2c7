package hangs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// As seen from the host, a driver that is stopped is a guest that hangs.
func TestHangs(t *testing.T) {
	if _, err := os.Stat("/media/plan.json"); err != nil {
		t.Fatalf("not in a guest of vmtest: %v", err)
	}
	if err := unix.Kill(unix.Getppid(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {}
}
