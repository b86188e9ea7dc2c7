package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/testenv"
)

// recipe is how the test runs a recipe of docs/cookbook.md.
type recipe struct {
	setup  string   // what its reader has
	prints []string // patterns of what its blocks print, on standard output or error
	needs  string   // a feature of the kernel
}

// recipes are those of the page by their titles. That of vmtest is run by vmtest's own tests.
var recipes = map[string]recipe{
	"My daemon loses events": {
		setup: `rbtool create ringbuf --pin /sys/fs/bpf/mydaemon/events --size 64KiB >/dev/null
			produce /sys/fs/bpf/mydaemon/events reserve 3000 16 2>/dev/null || true`,
		prints: []string{
			`(?m)^\d+ +ringbuf +events +64KiB .* /sys/fs/bpf/mydaemon/events$`,
			`counting by|(?m)^rbtool: drops: lost records cannot be counted: fexit: .*; breakpoint: `,
			`(?m)^\d+ +ringbuf +mydaemon/events +64KiB .* 100%$`,
			`advice on size: |counting by`,
		},
	},
	"What does that agent emit": {
		prints: []string{`"type":"exec_event".*"comm":"true"`, `exit_event .*comm=`},
	},
	"Feed a program from a file": {
		prints: []string{"block 192.0.2.1", "block 192.0.2.7"},
		needs:  "user_ringbuf-drain",
	},
	"A table that XDP answers from": {
		setup:  "eth0 192.0.2.1/24",
		prints: []string{`(?m)^blue$`, `requests`},
		needs:  "arena-cast",
	},
	"Test my program on six kernels": {},
	"Watch a fleet": {
		setup:  "rbtool create ringbuf --pin /sys/fs/bpf/fleetring --size 64KiB >/dev/null",
		prints: []string{`ok`, `rbtool_ring_saturated_seconds_total\{.*name="fleetring"`},
	},
	"Read a ring of another container": {
		setup: `mkdir inside; mkfifo ready
			unshare --mount sh -ec '
				mount -t bpf bpf inside
				rbtool create ringbuf --pin inside/agentring --size 64KiB
				produce inside/agentring reserve 3 16
				exec hold inside/agentring ready' >/dev/null 2>hold.err &
			read -r _ <ready`,
		prints: []string{`(?m)^\d+ +ringbuf +agentring +64KiB .* hold`, `pos=0 len=16`},
	},
	"A flight recorder": {
		prints: []string{`"type":"exit_event"`},
	},
}

// TestCookbook runs the blocks of each recipe, in a mount namespace with a bpffs of its own, and a
// network namespace.
func TestCookbook(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		testenv.SkipWithout(t, "go-tool", err) // in a guest
	}
	if testing.Short() {
		t.Skip("the recipes are the same with -race")
	}
	page, err := os.ReadFile("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(page), "\n## ")[1:]
	if len(sections) != len(recipes) {
		t.Errorf("%d recipes in the page, %d here", len(sections), len(recipes))
	}
	for _, section := range sections {
		title, text, _ := strings.Cut(section, "\n")
		r, known := recipes[title]
		if !known {
			t.Errorf("no test of recipe %q", title)
			continue
		}
		t.Run(title, func(t *testing.T) { r.run(t, text) })
	}
}

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

func (r recipe) run(t *testing.T, text string) {
	if f, ok := feature.Find(r.needs); ok {
		if err := f.Have(); err != nil {
			testenv.SkipWithout(t, r.needs, err)
		}
	} else if r.needs != "" {
		t.Fatalf("unknown feature %q", r.needs)
	}
	var commands strings.Builder
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		commands.WriteString(block[1])
	}
	if commands.Len() == 0 && len(r.prints) > 0 {
		t.Fatal("no commands")
	}
	script := "set -euo pipefail; mount -t bpf bpf /sys/fs/bpf; lo\n" + r.setup + "\n" + commands.String()
	out, err := runRecipe(t, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, pattern := range r.prints {
		if !regexp.MustCompile(pattern).Match(out) {
			t.Errorf("%q is not printed", pattern)
		}
	}
}

// runRecipe runs a script with rbtool and the other commands of this binary, and returns what it prints.
// All its processes are killed at its end.
func runRecipe(t *testing.T, script string) ([]byte, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, name := range []string{"rbtool", "produce", "hold", "lo", "eth0"} {
		if err := os.Symlink(exe, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	// A file, not a pipe, which processes in the background would keep open.
	out, err := os.Create(filepath.Join(bin, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("unshare", "--mount", "--net", "bash", "-c", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), out, out
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	failed := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // ESRCH if none is left
	}
	printed, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return printed, failed
}

// loMain is the command lo. It starts the loopback device.
func loMain() {
	lo, err := netlink.LinkByName("lo")
	fatal(err)
	fatal(netlink.LinkSetUp(lo))
}

// eth0Main is the command eth0 ADDRESS/BITS. It makes a device eth0 that has this address.
func eth0Main() {
	addr, err := netlink.ParseAddr(os.Args[1])
	fatal(err)
	eth0 := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer"}
	fatal(netlink.LinkAdd(eth0))
	fatal(netlink.AddrAdd(eth0, addr))
	fatal(netlink.LinkSetUp(eth0))
}
