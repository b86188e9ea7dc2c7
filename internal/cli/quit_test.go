package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestSIGQUITEndsItWithoutStacks(t *testing.T) {
	for _, tt := range []struct {
		name, env string
		status    int
		stacks    bool
	}{
		{"by default", "GOTRACEBACK=", command.StatusQuit, false},
		{"but for GOTRACEBACK", "GOTRACEBACK=all", 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, path := pinnedRing(t, testenv.PageSize)
			p, err := producer.Load(m)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: 1, Size: 8}); err != nil {
				t.Fatal(err)
			}
			cmd := rbtool(t, "tail", path, "-o", "hex")
			cmd.Env = append(os.Environ(), tt.env)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := stdout.Read(make([]byte, 1)); err != nil { // the command has started
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			if got := strings.Contains(stderr.String(), "goroutine "); got != tt.stacks || !tt.stacks && stderr.Len() > 0 {
				t.Errorf("stderr: %s", &stderr)
			}
		})
	}
}
