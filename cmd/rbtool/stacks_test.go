package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/internal/symbol"
	"github.com/rbtool/rbtool/internal/testenv"
)

// The kernel finds no build id in a program that Go linked, as this one is. Its frames are named all
// the same, here by the path in an event that the filter may leave out: it has ended.
func TestStacksOfGoProgramsAreNamed(t *testing.T) {
	if !symbol.SeesAllProcesses() {
		t.Skip("pids of the initial pid namespace are not in /proc")
	}
	dir := filepath.Join(testenv.BPFFS(t), "t")
	if err := rbtool(t, "probe", "proctrace", "start", "--stacks", "--size", "1MiB", "--pin-dir", dir).Run(); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { rbtool(t, "probe", "proctrace", "stop", "--pin-dir", dir).Run() })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "goprogram")
	if err := os.WriteFile(program, self, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{"exec_event", "exit_event"} {
		if err := exec.Command(program, "-test.list", "^$").Run(); err != nil {
			t.Fatal(err)
		}
		filter := `type == "` + event + `" && comm == "goprogram"`
		out, err := rbtool(t, "tail", filepath.Join(dir, "events"), "-o", "json", "--filter", filter, "--idle", "200ms", "--for", "10s").Output()
		if err != nil {
			t.Fatal(err)
		}
		var record struct {
			Stacks struct {
				User    []string
				Missing string `json:"user_missing"`
			}
		}
		if err := json.NewDecoder(bytes.NewReader(out)).Decode(&record); err != nil {
			t.Fatalf("%s: %v\n%s", event, err, out)
		}
		s := record.Stacks
		if s.Missing != "" { // lost, or gone before the exit (kernels before 6.16)
			t.Logf("%s: %s", event, s.Missing)
			continue
		}
		if len(s.User) == 0 || !strings.Contains(s.User[0], "goprogram") {
			t.Errorf("%s: %q", event, s.User)
		}
	}
}
