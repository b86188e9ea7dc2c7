package panics

import (
	"fmt"
	"os"
	"testing"
)

func TestPanicsTheGuest(t *testing.T) {
	// Outside a guest this file does not exist, so the test does not panic the machine.
	f, err := os.OpenFile("/media/plan.json", os.O_RDONLY, 0)
	if err != nil {
		t.Fatalf("not in a guest of vmtest: %v", err)
	}
	f.Close()
	fmt.Println("the last line")
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
}
