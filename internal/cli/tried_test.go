package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// triedPage is the page with the commands that newcomers type.
const triedPage = "../../docs/cli-tried.md"

// tried is a row of the page: what is typed, the exit status, and what the answer contains.
type tried struct {
	typed, status string
	answers       []string
}

// triedGroup is a section of the page: its setup, a block of commands, and its rows.
type triedGroup struct {
	title string
	setup []string
	rows  []tried
}

// TestTried runs each row of docs/cli-tried.md, each section as a script. On the page, /sys/fs/bpf/app is the test's own
// directory, and the names of maps stand for names that no other process has.
func TestTried(t *testing.T) {
	if testing.Short() {
		return // what is answered is the same on every kernel
	}
	text, err := os.ReadFile(triedPage)
	if err != nil {
		t.Fatal(err)
	}
	groups := parseTried(t, string(text))
	rows := 0
	dir := t.TempDir()
	for i, g := range groups {
		rows += len(g.rows)
		name := fmt.Sprintf("%02d_%s.txtar", i+1, strings.ReplaceAll(strings.ToLower(g.title), " ", "_"))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(g.script()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if least := 60; rows < least {
		t.Errorf("the page has %d rows, want %d", rows, least)
	}
	runScripts(t, dir)
}

// parseTried reads the sections of the page. A row is "| `typed` | status | text with `answers` |".
func parseTried(t *testing.T, page string) (groups []triedGroup) {
	t.Helper()
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		last := len(groups) - 1
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		switch title, isTitle := strings.CutPrefix(line, "## "); {
		case isTitle:
			groups = append(groups, triedGroup{title: title})
		case strings.HasPrefix(line, "    ") && last >= 0:
			groups[last].setup = append(groups[last].setup, strings.TrimSpace(line))
		case len(cells) == 5 && strings.Contains(cells[1], "`"):
			row := tried{status: strings.TrimSpace(cells[2])}
			for i := range cells {
				cells[i] = strings.ReplaceAll(cells[i], "\x00", "|")
			}
			row.typed = code.FindStringSubmatch(cells[1])[1]
			for _, m := range code.FindAllStringSubmatch(cells[3], -1) {
				row.answers = append(row.answers, m[1])
			}
			if len(row.answers) == 0 {
				t.Errorf("%s: the answer is not quoted", row.typed)
			}
			groups[last].rows = append(groups[last].rows, row)
		}
	}
	return slices.DeleteFunc(groups, func(g triedGroup) bool { return len(g.rows) == 0 })
}

// script returns the testscript of a section.
func (g *triedGroup) script() string {
	var b strings.Builder
	if needs, kind, ok := strings.Cut(g.title, "("); ok && needs != "" {
		kind = strings.TrimSuffix(kind, ")")
		fmt.Fprintf(&b, "[!%s] skip 'missing feature %s: the kernel has no such map'\n", kind, kind)
	}
	for _, line := range g.setup {
		fmt.Fprintf(&b, "typed 0 %s\n", quoted(line))
	}
	for _, row := range g.rows {
		fmt.Fprintf(&b, "typed %s %s", quoted(row.status), quoted(row.typed))
		for _, answer := range row.answers {
			fmt.Fprintf(&b, " %s", quoted(answer))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// quoted quotes a word for testscript.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// triedNames are the names on the page that the test replaces by its own.
var triedNames = regexp.MustCompile(`\b(events|evnts|twins|requests|shared)\b`)

// ownNames replaces the names and the directory on the page by those of the script.
func ownNames(ts *testscript.TestScript, s string) string {
	dir := ts.Getenv("BPFFS")
	suffix := dir[len(dir)-4:]
	s = triedNames.ReplaceAllString(s, "${1}"+suffix)
	return regexp.MustCompile(`\bapp\b`).ReplaceAllString(s, filepath.Base(dir))
}

// output is what a command has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// cmdTyped runs a command in a shell and expects a status and what its output contains:
//
//	typed STATUS COMMAND ANSWER...
//
// With the status "0 ^C" the command is interrupted when all answers have been seen.
func cmdTyped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: typed STATUS COMMAND ANSWER...")
	}
	status, interrupt := strings.CutSuffix(args[0], " ^C")
	line := ownNames(ts, args[1])
	if interrupt {
		line = "exec " + line // the shell would be interrupted, too
	}
	var out output
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), &out, &out
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "HOME="+ts.Getenv("WORK"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	missing := func() (list []string) {
		for _, answer := range args[2:] {
			if answer = ownNames(ts, answer); !strings.Contains(out.String(), answer) {
				list = append(list, answer)
			}
		}
		return list
	}
	done := false
	for interrupt && !done && len(missing()) > 0 {
		select {
		case <-ended:
			done = true
		case <-time.After(lookAgain):
		}
	}
	if interrupt && !done {
		ts.Check(syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	}
	if !done {
		<-ended
	}
	fmt.Fprintf(ts.Stdout(), "$ %s\n%s", line, out.String())
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != status {
		ts.Fatalf("exit status %s, want %s", got, status)
	}
	if status != "0" && !strings.Contains(out.String(), "\nhint: ") && !strings.Contains(out.String(), "(near: ") {
		ts.Fatalf("the answer does not say what to type next")
	}
	if list := missing(); len(list) > 0 {
		ts.Fatalf("not in the answer: %s", strings.Join(list, "; "))
	}
}
