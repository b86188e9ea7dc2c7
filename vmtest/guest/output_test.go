package guest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// executed runs a shell script as a test binary and returns what it wrote.
func executed(t *testing.T, script string, limit time.Duration) (Exit, []byte) {
	t.Helper()
	skipWithoutRealTime(t)
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "output")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	b := Binary{Path: shell, Dir: t.TempDir(), Args: []string{"-c", script}, Limit: limit}
	exit := execute(b, os.Environ(), out)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return exit, text
}

func skipWithoutRealTime(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("missing feature root: real-time priority needs it")
	}
}

func TestAllOutputArrives(t *testing.T) {
	exit, text := executed(t, "seq 100000; echo last >&2", time.Minute)
	if exit.Code != 0 || exit.Error != "" || !bytes.HasSuffix(text, []byte("\n100000\nlast\n")) {
		t.Errorf("%+v: %d bytes", exit, len(text))
	}
	if lines := bytes.Count(text, []byte("\n")); lines != 100_001 {
		t.Errorf("%d lines", lines)
	}
}

func TestTheOutputOfAKilledBinaryArrives(t *testing.T) {
	exit, text := executed(t, "echo before; kill -KILL $$", time.Minute)
	if exit.Signal != unix.SignalName(unix.SIGKILL) || string(text) != "before\n" {
		t.Errorf("%+v: %q", exit, text)
	}
}

// A process in a session of its own is not killed with the binary.
func TestALeftProcessDoesNotHoldTheOutputUp(t *testing.T) {
	begin := time.Now()
	exit, text := executed(t, "mkfifo f; setsid sh -c 'echo $$ >f; exec sleep 60' & read pid <f; echo $pid; echo end", 30*time.Second)
	left, _, _ := strings.Cut(string(text), "\n")
	defer exec.Command("kill", left).Run()
	if exit.Code != 0 || exit.TimedOut || !strings.HasSuffix(string(text), "end\n") || time.Since(begin) > 20*time.Second {
		t.Errorf("%+v after %v: %q", exit, time.Since(begin), text)
	}
}
