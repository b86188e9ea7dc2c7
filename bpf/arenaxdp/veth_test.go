package arenaxdp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cilium/ebpf/link"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/netpair"
	"github.com/rbtool/rbtool/internal/testenv"
)

func newPair(tb testing.TB) *netpair.Pair {
	tb.Helper()
	p, err := netpair.New()
	if errors.Is(err, netpair.ErrNotSupported) {
		testenv.SkipWithout(tb, "veth", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// attachTo attaches the program to the device of the pair's server end until the test ends.
func attachTo(tb testing.TB, p *netpair.Pair, h *container.Heap, mode link.XDPAttachFlags) *Accelerator {
	tb.Helper()
	var x *Accelerator
	err := p.Server.Do(func() (err error) {
		x, err = Attach(h, "kv", Options{Interface: p.Server.Device, Mode: mode})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := x.Close(); err != nil {
			tb.Error(err)
		}
	})
	return x
}

// startServer serves on the device of one of the pair's ends until the test ends.
func startServer(tb testing.TB, e *netpair.End, kv *container.KV, opts Options) *Server {
	tb.Helper()
	opts.Interface = e.Device
	var s *Server
	err := e.Do(func() (err error) {
		s, err = Listen(kv, opts)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
		s.Close()
	})
	return s
}

// client sends requests by UDP.
type client struct {
	conn *net.UDPConn
	id   uint16
	sent int
	buf  [2048]byte
}

func newClient(tb testing.TB, p *netpair.Pair, server netip.Addr) *client {
	tb.Helper()
	return newClientIn(tb, p.Client, server)
}

func newClientIn(tb testing.TB, e *netpair.End, server netip.Addr) *client {
	tb.Helper()
	c := &client{}
	err := e.Do(func() (err error) {
		c.conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, DefaultPort)))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.conn.Close() })
	return c
}

// ask sends a request until it is answered: datagrams may be lost while the devices come up.
func (c *client) ask(text string) (string, error) {
	c.id++
	var last error
	for range 50 {
		if _, err := c.conn.Write([]byte(framed(c.id, text))); err != nil {
			last = err // the ICMP error for the previous request
			continue
		}
		c.sent++
		c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for {
			n, err := c.conn.Read(c.buf[:])
			if err != nil {
				last = err
				break
			}
			if n >= frameSize && be.Uint16(c.buf[:]) == c.id { // not a late answer to an earlier request
				return string(c.buf[frameSize:n]), nil
			}
		}
	}
	return "", last
}

func (c *client) must(tb testing.TB, text string) string {
	tb.Helper()
	got, err := c.ask(text)
	if err != nil {
		tb.Fatalf("%q: %v", text, err)
	}
	return got
}

func TestVeth(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	value := strings.Repeat("blue", 40)
	put(t, kv, "colour", value)
	for name, mode := range map[string]link.XDPAttachFlags{"any": 0, "native": link.XDPDriverMode, "generic": link.XDPGenericMode} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			x := attachTo(t, p, h, mode)
			clients := []*client{newClient(t, p, p.Server.IPv4), newClient(t, p, p.Server.IPv6)}
			for _, c := range clients {
				// Without a server, only the program answers.
				if got := c.must(t, "get colour\r\n"); got != answer("colour", value) {
					t.Errorf("got %q", got)
				}
			}
			startServer(t, p.Server, kv, Options{})
			for _, c := range clients {
				for ask, want := range map[string]string{
					"get absent\r\n":        "END\r\n",
					"get colour absent\r\n": answer("colour", value),
					"version\r\n":           "ERROR\r\n",
				} {
					if got := c.must(t, ask); got != want {
						t.Errorf("%q: got %q, want %q", ask, got, want)
					}
				}
			}
			n, err := x.Counters()
			if err != nil {
				t.Fatal(err)
			}
			// A slow test may have sent a request more than once.
			if n.Hits < 2 || n.Misses < 2 || n.Others < 4 || n.Malformed+n.Busy+n.Broken+n.NoRoom+n.Checksums != 0 || n.ServerPorts+n.Sources+n.Large != 0 {
				t.Errorf("counters %+v", n)
			}
			if err := x.Close(); err != nil {
				t.Error(err)
			}
			if _, err := x.Counters(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("counters after Close: %v", err)
			}
			// Without the program, the server answers.
			if got := clients[0].must(t, "get colour\r\n"); got != answer("colour", value) {
				t.Errorf("after Close: %q", got)
			}
		})
	}
}

// Requests for values of every size are answered: by the program if the device has room, else by the
// server.
func TestVethValuesOfAllSizes(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	p := newPair(t)
	x := attachTo(t, p, h, 0)
	startServer(t, p.Server, kv, Options{})
	for _, c := range []*client{newClient(t, p, p.Server.IPv4), newClient(t, p, p.Server.IPv6)} {
		for size := range container.MaxValue + 1 {
			value := strings.Repeat("x", size)
			put(t, kv, "key", value)
			if got := c.must(t, "get key\r\n"); got != answer("key", value) {
				t.Fatalf("%d bytes: got %q", size, got)
			}
		}
	}
	n, err := x.Counters()
	t.Logf("%+v, %v", n, err)
	if n.Hits < 2*128 || n.Hits+n.NoRoom < 2*(container.MaxValue+1) {
		t.Errorf("counters %+v", n)
	}
}

const stormKeys = 8

// stormValue returns a value whose words are odd multiples of n, so that a torn value is recognised.
func stormValue(n uint64) []byte {
	v := make([]byte, 0, 192)
	for i := range uint64(24) {
		v = binary.BigEndian.AppendUint64(v, n*(2*i+1))
	}
	return v
}

// changeKeys replaces, deletes and puts the values of every second key, from first on, until ctx ends.
func changeKeys(ctx context.Context, kv *container.KV, first uint64) error {
	for n := first; ctx.Err() == nil; n += 2 {
		key := fmt.Sprint("key", n%stormKeys)
		err := kv.Put(key, stormValue(n))
		if n%16 < 2 && err == nil {
			err = kv.Delete(key)
		}
		if err != nil && !errors.Is(err, container.ErrNotFound) && !errors.Is(err, container.ErrContended) {
			return err
		}
	}
	return nil
}

// readKeys requests all keys until ctx ends, and then each key once more. It returns an error if a value is
// torn.
func readKeys(ctx context.Context, c *client) error {
	for i, more := 0, stormKeys; more > 0; i++ {
		if ctx.Err() != nil {
			more--
		}
		key := fmt.Sprint("key", i%stormKeys)
		got, err := c.ask("get " + key + "\r\n")
		if err != nil {
			return err
		}
		if got == "END\r\n" {
			continue
		}
		_, value, ok := strings.Cut(got, "\r\n")
		if !ok || len(value) < 8 {
			return fmt.Errorf("got %q", got)
		}
		if n := binary.BigEndian.Uint64([]byte(value)); got != answer(key, string(stormValue(n))) {
			return fmt.Errorf("torn value %q", got)
		}
	}
	return nil
}

// Values are replaced, deleted and put again while clients request them, for RBTOOL_ARENA_STORM (default
// 1 s).
func TestVethUpdatesWhileReading(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	p := newPair(t)
	x := attachTo(t, p, h, 0)
	startServer(t, p.Server, kv, Options{})
	duration := time.Second
	if testing.Short() {
		duration = 200 * time.Millisecond
	}
	if text := os.Getenv("RBTOOL_ARENA_STORM"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint64(stormKeys) {
		put(t, kv, fmt.Sprint("key", n), string(stormValue(n)))
	}
	clients := []*client{newClient(t, p, p.Server.IPv4), newClient(t, p, p.Server.IPv6)}
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var wg sync.WaitGroup
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	for first := range uint64(2) {
		run(func() error { return changeKeys(ctx, kv, first) })
	}
	for _, c := range clients {
		run(func() error { return readKeys(ctx, c) })
	}
	wg.Wait()
	n, err := x.Counters()
	t.Logf("%+v, %v", n, err)
	if n.Hits == 0 || n.Broken+n.Malformed+n.NoRoom != 0 {
		t.Errorf("counters %+v", n)
	}
}

func TestAttachErrors(t *testing.T) {
	testenv.NoLeaks(t)
	h, _ := newKV(t)
	p := newPair(t)
	attachTo(t, p, h, 0)
	tests := []struct {
		rule string
		want error
		text string
		opts Options
		name string
	}{
		{"an interface has one program", unix.EBUSY, "another XDP program", Options{Interface: p.Server.Device}, "kv"},
		{"an interface that is not there", errNoInterface, "no such interface", Options{Interface: "absent"}, "kv"},
		{"a table that is not there", container.ErrNotFound, `"absent"`, Options{Interface: p.Server.Device}, "absent"},
		{"a list", container.ErrFormat, "it is a list", Options{Interface: p.Server.Device}, "other"},
		{"the loopback device", errLoopback, "loopback", Options{Interface: "lo"}, "kv"},
		{"no name", errNoInterface, "no such interface", Options{}, "kv"},
		{"a growth below 1", nil, "between 1 and 1000", Options{Interface: p.Server.Device, Growth: -1}, "kv"},
		{"more networks than it can hold", nil, "at most 1024", Options{Interface: p.Server.Device, Allow: make([]netip.Prefix, 1025)}, "kv"},
		{"no address", nil, "between 1 and 256", Options{Interface: p.Server.Device, Addresses: []netip.Addr{}}, "kv"},
	}
	for _, tt := range tests {
		err := p.Server.Do(func() error {
			x, err := Attach(h, tt.name, tt.opts)
			if err == nil {
				x.Close()
			}
			return err
		})
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
}
