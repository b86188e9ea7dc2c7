package arenaxdp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/netpair"
	"github.com/rbtool/rbtool/internal/testenv"
)

// inject sends d, whose source may be forged, from one end of the pair to the other.
func inject(tb testing.TB, from, to *netpair.End, d datagram) {
	tb.Helper()
	packet := d.bytes()
	copy(packet, macOf(tb, to))
	copy(packet[6:], macOf(tb, from))
	err := from.Do(func() error {
		dev, err := net.InterfaceByName(from.Device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index})
	})
	if err != nil {
		tb.Fatalf("inject packet: %v", err)
	}
}

func macOf(tb testing.TB, e *netpair.End) (mac net.HardwareAddr) {
	tb.Helper()
	err := e.Do(func() error {
		dev, err := net.InterfaceByName(e.Device)
		if err == nil {
			mac = dev.HardwareAddr
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return mac
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// received returns the number of UDP datagrams that sockets in the network namespace of e have read.
func received(tb testing.TB, e *netpair.End) (n int) {
	tb.Helper()
	err := e.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(text), "\nUdp: InDatagrams")
		_, rest, _ = strings.Cut(rest, "\nUdp: ")
		_, err = fmt.Sscan(rest, &n)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// A datagram forged from one server to another starts no exchange between them.
func TestOneForgedDatagramBetweenTwoServersIsTheLast(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	put(t, kv, "colour", "blue")
	for _, accelerated := range []bool{false, true} {
		p := newPair(t)
		if accelerated {
			attachTo(t, p, h, link.XDPDriverMode)
		}
		startServer(t, p.Server, kv, Options{})
		startServer(t, p.Client, kv, Options{})
		askServer := newClient(t, p, p.Server.IPv4)
		askClient := newClientIn(t, p.Server, p.Client.IPv4)
		for _, text := range []string{"ERROR\r\n", "get colour\r\n", "get absent\r\n", "get\r\n", "version\r\n", "END\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n", "x\r\n"} {
			before := received(t, p.Server) + received(t, p.Client)
			sent := askServer.sent + askClient.sent
			inject(t, p.Client, p.Server, datagram{p.Client.IPv4, p.Server.IPv4, DefaultPort, DefaultPort, framed(7, text)})
			// Once these requests are answered, each server has read the forged datagram and any
			// answers to it.
			for range 2 {
				askServer.must(t, "get absent\r\n")
				askClient.must(t, "get absent\r\n")
			}
			got := received(t, p.Server) + received(t, p.Client) - before
			if most := 1 + 2*(askServer.sent+askClient.sent-sent); got > most {
				t.Errorf("accelerated %t, %q: %d datagrams, at most %d are ours", accelerated, text, got, most)
			}
		}
	}
}

// The server refuses the requests that the program passes on. After each datagram, the test sends a
// request: once that is answered, the server has read the datagram.
func TestServerRefusesWhatTheProgramRefuses(t *testing.T) {
	testenv.NoLeaks(t)
	_, kv := newKV(t)
	put(t, kv, "k", "value")
	p := newPair(t)
	// Add an address that belongs to the host, but not to the device.
	must(t, p.Server.AddAddress("lo", netip.MustParsePrefix("198.51.100.9/32")))
	s := startServer(t, p.Server, kv, Options{})
	c := newClient(t, p, p.Server.IPv4)
	d4, d6 := get(server4, "k"), get(server6, "k")
	with := func(d datagram, change func(*datagram)) datagram { change(&d); return d }
	tests := []struct {
		rule   string
		packet datagram
		want   ServerCounters
	}{
		{"from its own port", with(d4, func(d *datagram) { d.fromPort = DefaultPort }), ServerCounters{ServerPorts: 1}},
		{"from a port of IPv6 servers", with(d6, func(d *datagram) { d.fromPort = 53 }), ServerCounters{ServerPorts: 1}},
		{"from another network", with(d4, func(d *datagram) { d.from = netip.MustParseAddr("203.0.113.1") }), ServerCounters{Sources: 1}},
		{"from another IPv6 network", with(d6, func(d *datagram) { d.from = netip.MustParseAddr("2001:db8:1::1") }), ServerCounters{Sources: 1}},
		{"to another address of the host", with(d4, func(d *datagram) { d.to = netip.MustParseAddr("198.51.100.9") }), ServerCounters{NotLocal: 1}},
		{"to the broadcast address", with(d4, func(d *datagram) { d.to = netip.MustParseAddr("192.0.2.255") }), ServerCounters{NotLocal: 1}},
		{"to all nodes", with(d6, func(d *datagram) { d.to = netip.MustParseAddr("ff02::1") }), ServerCounters{NotLocal: 1}},
		{"what a server says", with(d4, func(d *datagram) { d.payload = framed(7, "ERROR\r\n") }), ServerCounters{NoRequest: 1}},
		{"a request", d4, ServerCounters{Answered: 1}},
		{"a request by IPv6", d6, ServerCounters{Answered: 1}},
	}
	// Without routes back, the kernel drops datagrams from other networks.
	must(t, p.Server.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), p.Client.IPv4))
	must(t, p.Server.AddRoute(netip.MustParsePrefix("::/0"), p.Client.IPv6))
	for _, tt := range tests {
		c.must(t, "get absent\r\n")
		before, sent := s.Counters(), c.sent
		inject(t, p.Client, p.Server, tt.packet)
		var got, want ServerCounters
		for range 1000 { // the counters may lag behind: try again
			c.must(t, "get absent\r\n")
			want = tt.want
			want.Answered += uint64(c.sent - sent)
			if got = s.Counters().since(before); got == want {
				break
			}
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", tt.rule, got, want)
		}
	}
}

func (c ServerCounters) since(o ServerCounters) ServerCounters {
	return ServerCounters{
		Answered: c.Answered - o.Answered, NoRequest: c.NoRequest - o.NoRequest, NotLocal: c.NotLocal - o.NotLocal,
		ServerPorts: c.ServerPorts - o.ServerPorts, Sources: c.Sources - o.Sources, Large: c.Large - o.Large,
	}
}

func TestServerIsNotOnLoopback(t *testing.T) {
	testenv.NoLeaks(t)
	_, kv := newKV(t)
	p := newPair(t)
	s := startServer(t, p.Server, kv, Options{})
	remote := newClient(t, p, p.Server.IPv4)
	remote.must(t, "get absent\r\n") // the server runs
	for _, addr := range []string{"127.0.0.1", "::1"} {
		c := newClientIn(t, p.Server, netip.MustParseAddr(addr))
		c.conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err := c.conn.Write([]byte(framed(1, "get absent\r\n")))
		if err == nil {
			_, err = c.conn.Read(c.buf[:])
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v, want it refused", addr, err)
		}
	}
	// A datagram to an own address goes by loopback, but the kernel attributes it to the device
	// (net/ipv4/route.c, ip_route_output_key_hash_rcu: orig_oif).
	for _, addr := range []netip.Addr{p.Server.IPv4, p.Server.IPv6} {
		c := newClientIn(t, p.Server, addr)
		before := s.Counters()
		if _, err := c.conn.Write([]byte(framed(1, "get absent\r\n"))); err != nil {
			t.Fatal(err)
		}
		var n ServerCounters
		for range 1000 { // the counters may lag behind: try again
			remote.must(t, "get absent\r\n")
			if n = s.Counters().since(before); n.Sources != 0 {
				break
			}
		}
		if n.Sources != 1 {
			t.Errorf("%s: counters %+v", addr, n)
		}
	}
}

// The answer to a get of many keys is within Options.Growth times the request.
func TestServerKeepsToItsGrowth(t *testing.T) {
	testenv.NoLeaks(t)
	_, kv := newKV(t)
	p := newPair(t)
	s := startServer(t, p.Server, kv, Options{Growth: 2})
	keys := strings.Fields("a b c d e f g h")
	for _, key := range keys {
		put(t, kv, key, strings.Repeat("v", 100))
	}
	for _, addr := range []netip.Addr{p.Server.IPv4, p.Server.IPv6} {
		got := newClient(t, p, addr).must(t, "get "+strings.Join(keys, " ")+"\r\n")
		if got != "SERVER_ERROR the values are too large for the request\r\n" {
			t.Errorf("to %s: got %q", addr, got)
		}
	}
	// A request that is too short to be answered even with SERVER_ERROR.
	c := newClient(t, p, p.Server.IPv4)
	before := s.Counters()
	if _, err := c.conn.Write([]byte(framed(9, "get a\r\n"))); err != nil {
		t.Fatal(err)
	}
	c.must(t, "get absent\r\n")
	if n := s.Counters().since(before); n.Large != 1 {
		t.Errorf("counters %+v", n)
	}
}

func TestAddressesAreFollowed(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	put(t, kv, "k", "value")
	p := newPair(t)
	x := attachTo(t, p, h, 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.Follow(ctx) }()
	s := startServer(t, p.Server, kv, Options{})
	must(t, p.Client.AddAddress("client", netip.MustParsePrefix("198.51.100.2/24")))
	must(t, p.Server.AddAddress("server", netip.MustParsePrefix("198.51.100.1/24")))
	added := netip.MustParseAddr("198.51.100.1")
	await := func(what string, is func() bool) {
		for deadline := time.Now().Add(10 * time.Second); !is(); {
			if time.Now().After(deadline) {
				t.Fatalf("not seen in 10 s: %s", what)
			}
		}
	}
	var value uint8
	inProgram := func() error { return x.c.Maps[bpfMapAddresses].Lookup(added.As16(), &value) }
	inServer := func() bool { return slices.Contains(s.reach.Load().local, added) }
	await("an address comes", func() bool { return inProgram() == nil && inServer() })
	c := newClient(t, p, added)
	for ask, want := range map[string]string{"get k\r\n": answer("k", "value"), "get absent\r\n": "END\r\n"} {
		if got := c.must(t, ask); got != want {
			t.Errorf("%q: got %q", ask, got)
		}
	}
	must(t, p.Server.RemoveAddress("server", netip.MustParsePrefix("198.51.100.1/24")))
	await("it goes", func() bool { return errors.Is(inProgram(), ebpf.ErrKeyNotExist) && !inServer() })
	if s.reach.Load().mayAsk(netip.MustParseAddr("198.51.100.2")) {
		t.Error("its network may still ask")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
