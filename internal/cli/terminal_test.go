package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// terminal returns the two ends of a pseudoterminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		testenv.SkipWithout(t, "pty", err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

// screen is a terminal with rbtool in its foreground. Like a serial console it answers no terminal
// queries. Reading from it returns what rbtool writes to the terminal; writing to it types.
type screen struct {
	*os.File
	cmd *exec.Cmd
}

// onTerminal starts rbtool on a terminal of the given size. typed is typed before it starts.
func onTerminal(t *testing.T, size pty.Winsize, typed string, args ...string) *screen {
	t.Helper()
	master, slave := terminal(t)
	if err := pty.Setsize(slave, &size); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(master, typed); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = "rbtool"
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LANG=C.UTF-8")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := errors.Join(cmd.Start(), slave.Close()); err != nil {
		t.Fatal(err)
	}
	return &screen{master, cmd}
}

// until reads from the terminal until rbtool has written want, and returns all that it read.
func (s *screen) until(t *testing.T, want string) string {
	t.Helper()
	var shown bytes.Buffer
	for !strings.Contains(shown.String(), want) {
		if _, err := io.CopyN(&shown, s, 1); err != nil {
			t.Fatalf("%v: %q is missing from %q", err, want, shown.String())
		}
	}
	return shown.String()
}

// end waits for the command to end and returns the rest of its output.
func (s *screen) end(t *testing.T) string {
	t.Helper()
	shown, err := io.ReadAll(s)
	if err != nil && !errors.Is(err, unix.EIO) { // EIO: no process has the terminal open any more
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("%v: %q", err, shown)
	}
	return string(shown)
}

// terminalSize is the size of a terminal, for tests of terminals that report theirs.
var terminalSize = pty.Winsize{Rows: 24, Cols: 80}

func TestNoCommandAsksTheTerminal(t *testing.T) {
	tests := [][]string{{"version"}, {"help"}, {"tail", "--help"}, {"ls", "-o", "json"}}
	if testing.Short() {
		tests = tests[:1]
	}
	for _, args := range tests {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			shown := onTerminal(t, terminalSize, "", args...).end(t)
			if strings.ContainsRune(shown, '\x1b') || shown == "" {
				t.Errorf("the terminal was sent %q", shown)
			}
		})
	}
}

func TestProduceReadsWhatWasTypedBeforeItStarted(t *testing.T) {
	_, path := pinnedUserRing(t, testenv.PageSize)
	shown := onTerminal(t, terminalSize, "one\ntwo\n\x04", "produce", "--user", path).end(t)
	if !strings.Contains(shown, "2 samples, 6 bytes") {
		t.Errorf("produce said %q", shown)
	}
}

func TestTopAssumes80x24WhereTheTerminalHasNoSize(t *testing.T) {
	testenv.Ring(t, testenv.PageSize)
	top := onTerminal(t, pty.Winsize{}, "", "top")
	shown := top.until(t, "q quit") // the last of 24 lines begins with "q quit" in column 70
	if _, err := io.WriteString(top, "q"); err != nil {
		t.Fatal(err)
	}
	shown += top.end(t)
	if !strings.Contains(shown, "OWNER") || !regexp.MustCompile(`\x1b\[\?1049h(?s:.*)\x1b\[\?1049l`).MatchString(shown) {
		t.Errorf("top drew %q", shown)
	}
}

// The rows of rings that need attention have colours of the basic sixteen, unless the user wants none.
func TestColoursOfTop(t *testing.T) {
	if testing.Short() {
		return // the same on every kernel
	}
	m, _ := pinnedRing(t, testenv.PageSize)
	fill(t, m, 10)
	colour := regexp.MustCompile(`\x1b\[[0-9;]*[349][0-7][0-9;]*m`)
	for _, noColor := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColor)
		s := onTerminal(t, pty.Winsize{Rows: 24, Cols: 80}, "", "top", "--interval", "50ms")
		shown := s.until(t, "nobody")
		io.WriteString(s, "q")
		shown += s.end(t)
		found := colour.FindAllString(shown, -1)
		if (len(found) > 0) != (noColor == "") {
			t.Errorf("with NO_COLOR=%q: %q", noColor, found)
		}
		for _, c := range found {
			if strings.Contains(c, "8;") { // of a palette of 256, or any
				t.Errorf("colour %q", c)
			}
		}
	}
}

func TestTailIsATableOnAWideTerminal(t *testing.T) {
	m, path := pinnedRing(t, testenv.PageSize)
	types := filepath.Join(t.TempDir(), "pair.btf")
	if err := os.WriteFile(types, pairBTF(t), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(t.Context(), producer.Job{Op: producer.Reserve, Size: 16, Count: 1}); err != nil {
		t.Fatal(err)
	}
	for cols, want := range map[uint16]string{
		80: `^time {13}first +second\r\n[0-9:.]{15}  0 +[0-9]+\r\n$`,
		30: `^[0-9:.]{15} pair first=0 second=[0-9]+\r\n$`,
	} {
		size := pty.Winsize{Rows: 24, Cols: cols}
		shown := onTerminal(t, size, "", "tail", path, "--observe", "--type", "pair", "--btf", types, "-n", "1").end(t)
		if !regexp.MustCompile(want).MatchString(shown) {
			t.Errorf("%d columns: got %q, want %s", cols, shown, want)
		}
	}
}

func fill(t *testing.T, m *ebpf.Map, records uint64) {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: records, Size: 16}); err != nil {
		t.Fatal(err)
	}
}
