package main

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rbtool/rbtool/bpf/arenaxdp"
	"github.com/rbtool/rbtool/internal/netpair"
	"github.com/rbtool/rbtool/internal/testenv"
)

// serveRig is an arena with the key colour, and two namespaces.
type serveRig struct {
	t    *testing.T
	pair *netpair.Pair
	pin  string
}

func newServeRig(t *testing.T) *serveRig {
	skipWithoutArena(t)
	p, err := netpair.New()
	if errors.Is(err, netpair.ErrNotSupported) {
		testenv.SkipWithout(t, "veth", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	r := &serveRig{t, p, filepath.Join(testenv.BPFFS(t), "a")}
	r.must("create", "arena", "--size", "1MiB", "--pin", r.pin)
	r.must("arena", "put", r.pin, "colour", "blue")
	return r
}

// command is rbtool as a process of its own: each maps the arena at the same address.
func command(args ...string) *exec.Cmd {
	// As testscript.Main has it, the binary is the command that it is called.
	return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{"rbtool"}, args...)}
}

func (r *serveRig) must(args ...string) {
	r.t.Helper()
	if out, err := command(args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v: %s", args, err, out)
	}
}

// serve runs arena serve in the server's namespace to its end.
func (r *serveRig) serve(args ...string) (status int, said string) {
	cmd, _ := r.start(args...)
	return r.end(cmd)
}

func (r *serveRig) end(cmd *exec.Cmd) (status int, said string) {
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), cmd.Stdout.(*bytes.Buffer).String()
}

// start runs it; stop interrupts it.
func (r *serveRig) start(args ...string) (cmd *exec.Cmd, stop func() (int, string)) {
	r.t.Helper()
	cmd = command(append([]string{"arena", "serve"}, args...)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := r.pair.Server.Do(cmd.Start); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, func() (int, string) {
		cmd.Process.Signal(os.Interrupt)
		return r.end(cmd)
	}
}

// ask sends a request until it is answered.
func (r *serveRig) ask(text string) string {
	r.t.Helper()
	var conn *net.UDPConn
	err := r.pair.Client.Do(func() (err error) {
		addr := netip.AddrPortFrom(r.pair.Server.IPv4, arenaxdp.DefaultPort)
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	const frame = "\x00\x01\x00\x00\x00\x01\x00\x00"
	buf := make([]byte, 2048)
	for range 100 {
		// What is refused is asked again, too: the command may not listen yet.
		if _, err = conn.Write([]byte(frame + text)); err != nil {
			continue
		}
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		var n int
		if n, err = conn.Read(buf); err == nil {
			return strings.TrimPrefix(string(buf[:n]), frame)
		}
	}
	r.t.Fatalf("%q: %v", text, err)
	return ""
}

func TestArenaServe(t *testing.T) {
	r := newServeRig(t)
	_, stop := r.start(r.pin, "--dev", "server")
	r.ask("get colour\r\n") // what comes before the program is attached, the command answers
	for ask, want := range map[string]string{
		"get colour\r\n":       "VALUE colour 0 4\r\nblue\r\nEND\r\n",
		"get shape\r\n":        "END\r\n",
		"get shape colour\r\n": "VALUE colour 0 4\r\nblue\r\nEND\r\n",
	} {
		if got := r.ask(ask); got != want {
			t.Errorf("%q: got %q, want %q", ask, got, want)
		}
	}
	if !testing.Short() {
		r.otherProcesses()
	}
	if status, said := r.serve(r.pin, "--dev", "server", "--port", "11212"); status != statusBusy || !strings.Contains(said, "another XDP program") {
		t.Errorf("a second one: status %d: %s", status, said)
	}
	status, said := stop()
	if status != statusDone || !strings.Contains(said, "answering on server, UDP port 11211\n") ||
		!strings.Contains(said, "requests answered; not: ") || strings.Contains(said, "\n0 requests") {
		t.Errorf("status %d: %s", status, said)
	}
	// With the command the program is gone from the interface.
	_, stop = r.start(r.pin, "--dev", "server", "--xdp-only", "--mode", "generic")
	if got, want := r.ask("get colour\r\n"), "VALUE colour 0 4\r\nblue\r\nEND\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if status, said := stop(); status != statusDone {
		t.Errorf("status %d: %s", status, said)
	}
}

// otherProcesses sees that what another process puts is answered, and that one sees who serves.
func (r *serveRig) otherProcesses() {
	r.t.Helper()
	r.must("arena", "put", r.pin, "shape", "round")
	if got, want := r.ask("get shape\r\n"), "VALUE shape 0 5\r\nround\r\nEND\r\n"; got != want {
		r.t.Errorf("got %q, want %q", got, want)
	}
	out, err := command("inspect", r.pin).CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^owner .*maps it at 0x[0-9a-f]+`).Match(out) ||
		!regexp.MustCompile(`kv_get \(id [0-9]+, xdp\)`).Match(out) {
		r.t.Errorf("inspect: %v: %s", err, out)
	}
}

func TestArenaServeErrors(t *testing.T) {
	r := newServeRig(t)
	tests := []struct {
		args   []string
		status int
		text   string
	}{
		{[]string{r.pin, "--dev", "absent"}, statusNotFound, "no such interface"},
		{[]string{r.pin}, statusUsage, "--dev IFACE is missing"},
		{[]string{r.pin, "--dev", "server", "--port", "0"}, statusUsage, "--port 0"},
		{[]string{r.pin, "--dev", "server", "--port", "65536"}, statusUsage, "--port"},
		{[]string{r.pin, "--dev", "server", "--mode", "fast"}, statusUsage, "--mode fast"},
		{[]string{r.pin + "2", "--dev", "server"}, statusNotFound, "no such map"},
	}
	if testing.Short() {
		tests = tests[:1]
	}
	for _, tt := range tests {
		if status, said := r.serve(tt.args...); status != tt.status || !strings.Contains(said, tt.text) {
			t.Errorf("%s: status %d, want %d: %s", tt.args, status, tt.status, said)
		}
	}
	// The port is another server's.
	var conn *net.UDPConn
	err := r.pair.Server.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: arenaxdp.DefaultPort})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if status, said := r.serve(r.pin, "--dev", "server"); status != statusFailed || !strings.Contains(said, "hint: with --xdp-only") {
		t.Errorf("the port is taken: status %d: %s", status, said)
	}
	if testing.Short() {
		return
	}
	if status, said := r.serve(r.pin, "--dev", "server", "--xdp-only", "--for", "10ms"); status != statusDone {
		t.Errorf("beside another server: status %d: %s", status, said)
	}
}
