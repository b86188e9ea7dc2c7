package hangs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Stops the driver: to the host the guest then seems to hang.
func TestHangs(t *testing.T) {
	if _, err := os.Stat("/media/plan.json"); err != nil {
		t.Fatalf("not in a guest of vmtest: %v", err)
	}
	if err := unix.Kill(unix.Getppid(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {}
}
