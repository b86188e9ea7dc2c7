package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// Each shell completes the name of a map, its pin, its id and the values of flags when TAB is pressed.
func TestShellsComplete(t *testing.T) {
	if testing.Short() {
		return // the same on every kernel
	}
	if f, ok := feature.Find("shells"); !ok || f.Have() != nil {
		testenv.SkipWithout(t, "shells", f.Have())
	}
	m, path := pinnedRing(t, testenv.PageSize)
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	dir := filepath.Dir(path)
	if err := pin.Map(m, filepath.Join(dir, "anotherpin"), pin.Options{}); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(bin, "rbtool"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range []struct {
		name  string
		args  []string
		setup string
	}{
		{"bash", []string{"--norc", "--noprofile"}, "PS1=; . /usr/share/bash-completion/bash_completion; . <(rbtool completion bash)"},
		{"zsh", []string{"-f"}, "PS1=; autoload -U compinit; compinit -u -D; . <(rbtool completion zsh); compdef _rbtool rbtool"},
		{"fish", []string{"--no-config"}, "rbtool completion fish | source"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			s := onShell(t, bin, shell.name, shell.args)
			s.types(t, shell.setup+"; echo rea''dy\n")
			s.until(t, "ready\r\n")
			for _, tt := range []struct{ typed, want string }{
				{"rbtool ls " + dir + "/anoth\t -o cs\t --no-h\t", fmt.Sprintf("\n%d,ringbuf,", id)},
				{"rbtool ls -o jsonl --sort backl\t id:" + fmt.Sprint(id) + "\t", fmt.Sprintf(`{"id":%d,`, id)},
				{"rbtool insp\t " + filepath.Base(dir) + "/anoth\t -o js\t", fmt.Sprintf(`"id": %d,`, id)},
			} {
				s.types(t, tt.typed)
				s.types(t, "; echo en''d\n")
				if shown := s.until(t, "end\r\n"); !strings.Contains(shown, tt.want) {
					t.Errorf("%q shows %q", tt.typed, shown)
				}
			}
			s.types(t, "exit\n")
			if _, err := io.Copy(io.Discard, s); err != nil && !errors.Is(err, syscall.EIO) {
				t.Error(err)
			}
			if err := s.cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// onShell starts an interactive shell on a terminal. bin is the first directory of its PATH.
func onShell(t *testing.T, bin, name string, args []string) *screen {
	t.Helper()
	master, slave := terminal(t)
	if err := pty.Setsize(slave, &pty.Winsize{Rows: 50, Cols: 400}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), name, append(args, "-i")...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "TERM=dumb", "LANG=C.UTF-8", "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := errors.Join(cmd.Start(), slave.Close()); err != nil {
		t.Fatal(err)
	}
	return &screen{master, cmd}
}

// types types text.
func (s *screen) types(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
}

// A map of rings is offered to tail and record, and what cannot read it names them.
func TestMapsOfMaps(t *testing.T) {
	_, _, path := outerMap(t, 1, testenv.PageSize)
	for _, tt := range []struct {
		want string
		args []string
	}{
		{path + "\t", []string{"__complete", "tail", path[:len(path)-2]}},
		{path + "\t", []string{"__complete", "record", path[:len(path)-2]}},
		{"testdata/arena/\n", []string{"__complete", "record", path, "testdata/ar"}},
		{"hint: rbtool tail " + path + " reads the rings in it\n", []string{"ls", path}},
	} {
		cmd := rbtool(t, tt.args...)
		cmd.Stderr = nil
		if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), tt.want) {
			t.Errorf("%q: %s", tt.args, out)
		}
	}
}
