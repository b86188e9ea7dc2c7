package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/netpair"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// privilege is a row of the first table in docs/security.md: a command, and the capabilities that it
// needs if the user owns the pins.
type privilege struct {
	command string   // the first cell of the row
	needs   []string // the capabilities in the row
	without int      // exit status if a capability is missing; 0 means StatusUnable
	given   []string // commands that root runs first
	run     string   // the command to test, which must end by itself
	network bool     // run it in the network namespace of the test
	short   bool     // test it with -short too, although it is the same on all kernels
}

// In the commands, $B is a directory on a bpffs, $W a directory elsewhere, and $ID the id of the ring.
var (
	aRing     = "create ringbuf --pin $B/ring --size 64KiB"
	aUserRing = "create user-ringbuf --pin $B/user --size 64KiB"
	anArena   = []string{"create arena --pin $B/arena --size 1MiB", "arena put $B/arena colour blue"}
	aTracer   = "probe proctrace start --pin-dir $B/trace"
	aDrain    = "drain $B/user --to $B/ring --pin-dir $B/drain"
	both      = []string{"CAP_BPF", "CAP_PERFMON"}
	admin     = []string{"CAP_SYS_ADMIN"}
)

var privileges = []privilege{
	{command: "version, help, completion", run: "version"},
	{command: "features", needs: admin, run: "features"},
	{command: "ls", needs: both, run: "ls", short: true},
	{command: "inspect PIN", given: []string{aRing}, run: "inspect $B/ring"},
	{command: "inspect, tail, pin ... of an id or name", needs: admin, given: []string{aRing}, run: "inspect id:$ID"},
	{command: "create ringbuf", needs: both[:1], run: aRing, short: true},
	{command: "create user-ringbuf", needs: both[:1], run: aUserRing},
	{command: "create arena", needs: both[:1], run: anArena[0]},
	{command: "pin PIN PATH", given: []string{aRing}, run: "pin $B/ring $B/again"},
	{command: "unpin", given: []string{aRing}, run: "unpin $B/ring"},
	{command: "tail PIN", needs: both, without: command.StatusBusy, given: []string{aRing}, run: "tail $B/ring --idle 10ms"},
	{command: "tail PIN --observe, --steal", given: []string{aRing}, run: "tail $B/ring --observe --idle 10ms"},
	{command: "record PIN", needs: both, without: command.StatusBusy, given: []string{aRing}, run: "record $B/ring $W/file --idle 10ms"},
	{command: "record PIN --observe, --steal", given: []string{aRing}, run: "record $B/ring $W/file --observe --idle 10ms"},
	{command: "replay FILE", given: []string{aRing, "record $B/ring $W/file --idle 10ms"}, run: "replay $W/file"},
	{command: "produce PIN", needs: both, without: command.StatusBusy, given: []string{aUserRing}, run: "produce --user $B/user /dev/null"},
	{command: "produce PIN --ignore-unseen", given: []string{aUserRing}, run: "produce --user $B/user --ignore-unseen /dev/null"},
	{command: "drain", needs: both, given: []string{aRing, aUserRing}, run: "drain $B/user --to $B/ring --for 10ms"},
	{command: "drain status", given: []string{aRing, aUserRing, aDrain}, run: "drain status --pin-dir $B/drain"},
	{command: "drain stop", needs: both[:1], given: []string{aRing, aUserRing, aDrain}, run: "drain stop --pin-dir $B/drain"},
	{command: "drops PIN", needs: both, given: []string{aUserRing}, run: "drops $B/user --for 10ms"},
	{command: "arena dump", needs: both, given: anArena, run: "arena dump $B/arena"},
	{command: "arena heap", needs: both, given: anArena, run: "arena heap $B/arena"},
	{command: "arena list, table", needs: both, given: anArena, run: "arena table $B/arena"},
	{command: "arena get", needs: both, given: anArena, run: "arena get $B/arena colour"},
	{command: "arena put", needs: both, given: anArena, run: "arena put $B/arena colour red"},
	{command: "arena del", needs: both, given: anArena, run: "arena del $B/arena colour"},
	{command: "arena serve", needs: append(both, "CAP_NET_ADMIN"), given: anArena, run: "arena serve $B/arena --dev server --for 10ms", network: true},
	{command: "probe proctrace start", needs: both, run: aTracer},
	{command: "probe proctrace start --stacks", needs: both, run: aTracer + " --stacks"},
	{command: "probe proctrace status", needs: admin, given: []string{aTracer}, run: "probe proctrace status --pin-dir $B/trace"},
	{command: "probe proctrace watch, ignore, forget, reset", needs: admin, given: []string{aTracer}, run: "probe proctrace watch --pid 1 --pin-dir $B/trace"},
	{command: "probe proctrace replace", needs: admin, given: []string{aTracer}, run: "probe proctrace replace --pin-dir $B/trace"},
	{command: "probe proctrace stop", needs: admin, given: []string{aTracer}, run: "probe proctrace stop --pin-dir $B/trace"},
	{command: "top, exporter", needs: both, run: "top --once"},
}

var capabilities = map[string]uintptr{
	"CAP_BPF": unix.CAP_BPF, "CAP_PERFMON": unix.CAP_PERFMON,
	"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN,
}

// Each command works with exactly the capabilities that docs/security.md lists for it. If one of them is
// missing, the command is refused and its error names that capability.
func TestLeastPrivileges(t *testing.T) {
	for _, p := range privileges {
		if testing.Short() && !p.short {
			continue
		}
		t.Run(p.command, func(t *testing.T) {
			if status, said := p.try(t, p.needs); status != command.StatusDone {
				t.Errorf("with %v: status %d: %s", p.needs, status, said)
			}
			want := p.without
			if want == 0 {
				want = command.StatusUnable
			}
			for i, lacked := range p.needs {
				rest := slices.Delete(slices.Clone(p.needs), i, i+1)
				if status, said := p.try(t, rest); status != want || !strings.Contains(said, lacked) {
					t.Errorf("with %v alone: status %d, want %d and %s named: %s", rest, status, want, lacked, said)
				}
			}
		})
	}
}

// try runs the row's command with only the given capabilities, as the user who owns the pins.
func (p *privilege) try(t *testing.T, with []string) (status int, said string) {
	t.Helper()
	pins, files := testenv.BPFFS(t), t.TempDir()
	expand := func(line string) []string {
		line = strings.NewReplacer("$B", pins, "$W", files).Replace(line)
		if strings.Contains(line, "$ID") {
			m, err := pin.Open(filepath.Join(pins, "ring"))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			line = strings.Replace(line, "$ID", fmt.Sprint(mapID(t, m)), 1)
		}
		return strings.Fields(line)
	}
	for _, line := range p.given {
		if out, err := ownProcess(expand(line)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	t.Cleanup(func() { // stop programs that the command has left running
		for dir, end := range map[string]string{"trace": "probe proctrace stop", "drain": "drain stop --force"} {
			if _, err := os.Stat(filepath.Join(pins, dir)); err == nil {
				ownProcess(expand(end + " --pin-dir $B/" + dir)...).Run()
			}
		}
	})
	own(t, pins, filepath.Dir(files))
	cmd := ownProcess(expand(p.run)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	for _, name := range with {
		cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, capabilities[name])
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := p.start(t, cmd); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), out.String()
}

// start starts cmd, in the network namespace of the test if the row needs it.
func (p *privilege) start(t *testing.T, cmd *exec.Cmd) error {
	if !p.network {
		return cmd.Start()
	}
	pair, err := netpair.New()
	if errors.Is(err, netpair.ErrNotSupported) {
		testenv.SkipWithout(t, "veth", err)
	}
	if err != nil {
		return err
	}
	t.Cleanup(func() { pair.Close() })
	return pair.Server.Do(cmd.Start)
}

// own makes the user nobody the owner of directories and their contents.
func own(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobody, nobody))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The table in docs/security.md has the same rows as the table here.
func TestSecurityPageListsTheLeastPrivileges(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "| command | needs | without them |\n| --- | --- | --- |\n")
	if !found {
		t.Fatal("the page has no table of commands")
	}
	var got, want []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		got = append(got, strings.TrimSpace(cells[1])+": "+strings.TrimSpace(cells[2]))
	}
	for _, p := range privileges {
		needs := strings.Join(p.needs, ", ")
		if needs == "" {
			needs = "-"
		}
		want = append(want, fmt.Sprintf("`%s`: %s", p.command, needs))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is tested (-), what the page says (+):\n%s", diff)
	}
}
