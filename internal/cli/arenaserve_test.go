package cli

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

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bpf/arenaxdp"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/netpair"
	"github.com/rbtool/rbtool/internal/testenv"
)

// serveRig is an arena that has the key colour, and two network namespaces: one for the server, one for
// a client.
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

// ownProcess returns a command that runs rbtool in another process: this process could not map the same
// arena twice.
func ownProcess(args ...string) *exec.Cmd {
	// TestMain runs the program that argv[0] names.
	return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{"rbtool"}, args...)}
}

func (r *serveRig) must(args ...string) {
	r.t.Helper()
	if out, err := ownProcess(args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v: %s", args, err, out)
	}
}

// serve runs arena serve in the server's namespace and waits until it ends.
func (r *serveRig) serve(args ...string) (status int, said string) {
	cmd, _ := r.start(args...)
	return r.end(cmd)
}

func (r *serveRig) end(cmd *exec.Cmd) (status int, said string) {
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), cmd.Stdout.(*bytes.Buffer).String()
}

// start starts arena serve. stop interrupts it and returns its exit status and output.
func (r *serveRig) start(args ...string) (cmd *exec.Cmd, stop func() (int, string)) {
	r.t.Helper()
	cmd = ownProcess(append([]string{"arena", "serve"}, args...)...)
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

const frame = "\x00\x01\x00\x00\x00\x01\x00\x00"

// dial returns a socket in the namespace of e, bound to the address from and connected to the server. A
// zero port or address in from means any.
func (r *serveRig) dial(e *netpair.End, from netip.AddrPort, server netip.Addr) (conn *net.UDPConn) {
	r.t.Helper()
	err := e.Do(func() (err error) {
		to := netip.AddrPortFrom(server, arenaxdp.DefaultPort)
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a request until it is answered, and returns the answer.
func (r *serveRig) ask(text string) string {
	r.t.Helper()
	return r.askOn(r.dial(r.pair.Client, netip.AddrPort{}, r.pair.Server.IPv4), text)
}

func (r *serveRig) askOn(conn *net.UDPConn, text string) string {
	r.t.Helper()
	var err error
	buf := make([]byte, 2048)
	for range 1000 {
		// If the kernel refuses the request, send it again: the command may not be listening yet.
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
	r.ask("get colour\r\n") // the command answers requests even before it attaches the program
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
	if status, said := r.serve(r.pin, "--dev", "server", "--port", "11212"); status != command.StatusBusy || !strings.Contains(said, "another XDP program") {
		t.Errorf("a second one: status %d: %s", status, said)
	}
	status, said := stop()
	if status != command.StatusDone || !strings.Contains(said, "answering on server, UDP port 11211\n") ||
		!strings.Contains(said, "program: ") || strings.Contains(said, "program: 0 hits") || strings.Contains(said, "command: 0 answered") {
		t.Errorf("status %d: %s", status, said)
	}
	// The program was detached from the interface when the command ended: another one can be attached.
	_, stop = r.start(r.pin, "--dev", "server", "--xdp-only", "--mode", "generic")
	if got, want := r.ask("get colour\r\n"), "VALUE colour 0 4\r\nblue\r\nEND\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if status, said := stop(); status != command.StatusDone {
		t.Errorf("status %d: %s", status, said)
	}
}

// silent sends a datagram and fails the test if the server answers it. To know that the server has read
// it, silent waits for the answer to a later request of another client.
func (r *serveRig) silent(conn *net.UDPConn, text string) {
	r.t.Helper()
	// An answer has the number of its request, the first two bytes of the frame. Late answers to
	// requests that ask has sent on this connection have another.
	own := "\x00\x02" + frame[2:]
	if _, err := conn.Write([]byte(own + text)); err != nil {
		r.t.Fatal(err)
	}
	r.ask("get absent\r\n")
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if strings.HasPrefix(string(buf[:n]), own[:2]) {
			r.t.Errorf("%q from %s is answered with %q", text, conn.LocalAddr(), buf[:n])
		}
	}
}

// An attacker who forges source addresses cannot make the command send traffic to third parties.
func TestArenaServeCannotBeUsedAgainstOthers(t *testing.T) {
	r := newServeRig(t)
	if err := errors.Join(
		r.pair.Client.AddAddress("client", netip.MustParsePrefix("198.51.100.2/32")),
		r.pair.Server.AddRoute(netip.MustParsePrefix("198.51.100.2/32"), netip.Addr{}),
	); err != nil {
		t.Fatal(err)
	}
	elsewhere := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.2"), 0)
	_, stop := r.start(r.pin, "--dev", "server")
	r.ask("get absent\r\n")
	const blue = "VALUE colour 0 4\r\nblue\r\nEND\r\n"
	if got := r.ask("get colour colour colour\r\n"); got != blue {
		t.Errorf("one key three times: %q", got)
	}
	r.silent(r.dial(r.pair.Client, netip.AddrPortFrom(r.pair.Client.IPv4, arenaxdp.DefaultPort), r.pair.Server.IPv4), "get colour\r\n")
	r.silent(r.dial(r.pair.Client, netip.AddrPortFrom(r.pair.Client.IPv4, 53), r.pair.Server.IPv4), "get colour\r\n")
	r.silent(r.dial(r.pair.Client, elsewhere, r.pair.Server.IPv4), "get colour\r\n")
	r.silent(r.dial(r.pair.Client, elsewhere, r.pair.Server.IPv4), "get absent\r\n")
	for _, line := range []string{"ERROR\r\n", "END\r\n", "SERVER_ERROR busy\r\n", "VERSION 1\r\n", "STORED\r\n", "hello\r\n"} {
		r.silent(r.dial(r.pair.Client, netip.AddrPort{}, r.pair.Server.IPv4), line)
	}
	loopback := r.dial(r.pair.Server, netip.AddrPort{}, netip.MustParseAddr("127.0.0.1"))
	loopback.SetDeadline(time.Now().Add(10 * time.Second))
	_, err := loopback.Write([]byte(frame + "get colour\r\n"))
	if err == nil {
		_, err = loopback.Read(make([]byte, 2048))
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("loopback: %v, want it refused", err)
	}
	status, said := stop()
	for _, text := range []string{"2 from ports of servers", "2 from sources that are not allowed", "6 without a command"} {
		if status != command.StatusDone || !strings.Contains(said, text) {
			t.Errorf("status %d, want %q in: %s", status, text, said)
		}
	}

	_, stop = r.start(r.pin, "--dev", "server", "--allow", "192.0.2.0/24,198.51.100.2", "--max-growth", "1")
	r.ask("get absent\r\n")
	conn := r.dial(r.pair.Client, elsewhere, r.pair.Server.IPv4)
	if got := r.askOn(conn, "get absent\r\n"); got != "END\r\n" {
		t.Errorf("from a network that is allowed: %q", got)
	}
	r.silent(conn, "get colour\r\n")
	if status, said := stop(); status != command.StatusDone || !strings.Contains(said, "1 with an answer above --max-growth") {
		t.Errorf("status %d: %s", status, said)
	}
	_, stop = r.start(r.pin, "--dev", "server", "--allow", "any")
	if got := r.askOn(r.dial(r.pair.Client, elsewhere, r.pair.Server.IPv4), "get colour\r\n"); got != blue {
		t.Errorf("where any is allowed: %q", got)
	}
	stop()
}

// otherProcesses checks that values which another process puts are served, and that the other process
// sees the server.
func (r *serveRig) otherProcesses() {
	r.t.Helper()
	r.must("arena", "put", r.pin, "shape", "round")
	if got, want := r.ask("get shape\r\n"), "VALUE shape 0 5\r\nround\r\nEND\r\n"; got != want {
		r.t.Errorf("got %q, want %q", got, want)
	}
	out, err := ownProcess("inspect", r.pin).CombinedOutput()
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
		{[]string{r.pin, "--dev", "absent"}, command.StatusNotFound, "no such interface"},
		{[]string{r.pin}, command.StatusUsage, "--dev IFACE is missing"},
		{[]string{r.pin, "--dev", "server", "--port", "0"}, command.StatusUsage, "--port 0"},
		{[]string{r.pin, "--dev", "server", "--port", "65536"}, command.StatusUsage, "--port"},
		{[]string{r.pin, "--dev", "server", "--mode", "fast"}, command.StatusUsage, `"fast" for "--mode" flag: not one of any, native, generic`},
		{[]string{r.pin, "--dev", "server", "--allow", "everyone"}, command.StatusUsage, "neither any nor a network"},
		{[]string{r.pin, "--dev", "server", "--allow", "::ffff:192.0.2.0/120"}, command.StatusUsage, "neither any nor a network"},
		{[]string{r.pin, "--dev", "server", "--max-growth", "0"}, command.StatusUsage, "between 1 and 1000"},
		{[]string{r.pin, "--dev", "lo"}, command.StatusFailed, "loopback"},
		{[]string{r.pin + "2", "--dev", "server"}, command.StatusNotFound, "no such map"},
	}
	if testing.Short() {
		tests = tests[:1]
	}
	for _, tt := range tests {
		if status, said := r.serve(tt.args...); status != tt.status || !strings.Contains(said, tt.text) {
			t.Errorf("%s: status %d, want %d: %s", tt.args, status, tt.status, said)
		}
	}
	// Another server already uses the port.
	var conn *net.UDPConn
	err := r.pair.Server.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: arenaxdp.DefaultPort})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if status, said := r.serve(r.pin, "--dev", "server"); status != command.StatusFailed || !strings.Contains(said, "hint: --xdp-only leaves") {
		t.Errorf("the port is taken: status %d: %s", status, said)
	}
	if testing.Short() {
		return
	}
	if status, said := r.serve(r.pin, "--dev", "server", "--xdp-only", "--for", "10ms"); status != command.StatusDone {
		t.Errorf("beside another server: status %d: %s", status, said)
	}
}
