package reboots

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReboots(t *testing.T) {
	if _, err := os.Stat("/media/plan.json"); err != nil {
		t.Fatalf("not in a guest of vmtest: %v", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		t.Fatal(err)
	}
}
