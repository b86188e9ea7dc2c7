package proc

import (
	"os"
	"testing"
)

func TestParseOwnPID(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want uint32 // 0: parseOwnPID returns an error
	}{
		"one namespace":        {"Name:\tsh\nPid:\t12\nNSpid:\t12\n", 12},
		"a namespace in it":    {"Name:\tsh\nPid:\t12\nNStgid:\t12\t1\nNSpid:\t12\t7\t1\nNSpgid:\t9\n", 1},
		"without namespaces":   {"Name:\tsh\nPid:\t12\nPPid:\t1\n", 12},
		"a name like a field":  {"Name:\tNSpid: 4\nPid:\t12\nNSpid:\t12\n", 12},
		"nothing":              {"", 0},
		"a number that is not": {"NSpid:\tx\n", 0},
	} {
		if got, err := parseOwnPID([]byte(tt.text)); got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	if pid, err := OwnPID("/proc/self"); err != nil || int(pid) != os.Getpid() {
		t.Errorf("this process: %d, %v", pid, err)
	}
}
