package killed

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsKilled(t *testing.T) {
	if err := unix.Kill(unix.Getpid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {}
}
