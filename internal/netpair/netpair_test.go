package netpair

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestDatagramsPassBothWays(t *testing.T) {
	p, err := New()
	if errors.Is(err, ErrNotSupported) {
		testenv.SkipWithout(t, "veth", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, addrs := range [][2]netip.Addr{{p.Server.IPv4, p.Client.IPv4}, {p.Server.IPv6, p.Client.IPv6}} {
		server, client := listen(t, p.Server, addrs[0]), listen(t, p.Client, addrs[1])
		exchange(t, client, server)
		exchange(t, server, client)
	}
}

func listen(t *testing.T, e *End, addr netip.Addr) (c *net.UDPConn) {
	t.Helper()
	err := e.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends packets until an answer arrives: a device that has just come up drops packets.
func exchange(t *testing.T, from, to *net.UDPConn) {
	t.Helper()
	buf := make([]byte, 16)
	for range 100 {
		if _, err := from.WriteTo([]byte("hello"), to.LocalAddr()); err != nil {
			t.Logf("send: %v", err)
		}
		to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, addr, err := to.ReadFromUDPAddrPort(buf)
		if err == nil {
			if string(buf[:n]) != "hello" || addr.String() != from.LocalAddr().String() {
				t.Errorf("%q from %s, want it from %s", buf[:n], addr, from.LocalAddr())
			}
			return
		}
	}
	t.Fatalf("nothing comes from %s to %s", from.LocalAddr(), to.LocalAddr())
}
