package arenaxdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m, "arena-cast", "veth")) }

// newKV returns an empty KV called kv, in a new arena.
func newKV(tb testing.TB) (*container.Heap, *container.KV) {
	tb.Helper()
	a, err := arena.Create(arena.Options{Name: "test_xdp", Size: 4 << 20})
	if errors.Is(err, ebpf.ErrNotSupported) {
		testenv.SkipWithout(tb, "arena", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { a.Close() })
	h, err := container.Format(a)
	if err != nil {
		tb.Fatal(err)
	}
	// Add another root first, so that the root of the KV does not have number 0.
	if _, err := container.NewList(h, "other"); err != nil {
		tb.Fatal(err)
	}
	kv, err := container.NewKV(h, "kv", 100)
	if err != nil {
		tb.Fatal(err)
	}
	return h, kv
}

func put(tb testing.TB, kv *container.KV, key, value string) {
	tb.Helper()
	if err := kv.Put(key, []byte(value)); err != nil {
		tb.Fatal(err)
	}
}

var (
	server4, client4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	server6, client6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// runner runs the program on packets, without an interface.
type runner struct {
	tb testing.TB
	c  *loader.Collection
}

func newRunner(tb testing.TB, h *container.Heap) *runner {
	tb.Helper()
	return newRunnerWith(tb, h, Options{})
}

// networks returns the networks of the server's interface.
func networks() []network {
	return []network{
		{addr: server4, prefix: netip.MustParsePrefix("192.0.2.0/24"), broadcast: netip.MustParseAddr("192.0.2.255")},
		{addr: server6, prefix: netip.MustParsePrefix("2001:db8::/64")},
	}
}

func newRunnerWith(tb testing.TB, h *container.Heap, opts Options) *runner {
	tb.Helper()
	opts, err := opts.complete()
	if err != nil {
		tb.Fatal(err)
	}
	c, err := load(h, "kv", net.HardwareAddr{2, 0, 0, 0, 0, 1}, newReach(networks(), opts), opts)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(c.Close)
	return &runner{tb, c}
}

// Return values of the program: enum xdp_action.
const (
	xdpPass = 2
	xdpTx   = 3
)

// run runs the program on a packet. It returns the verdict and the resulting packet.
func (r *runner) run(packet []byte) (verdict uint32, out []byte) {
	r.tb.Helper()
	o := ebpf.RunOptions{Data: packet, DataOut: make([]byte, 2048)}
	verdict, err := r.c.Programs[bpfProgKvGet].Run(&o)
	if err != nil {
		r.tb.Fatalf("run on %d bytes: %v", len(packet), err)
	}
	return verdict, o.DataOut
}

func (r *runner) counters() Counters {
	r.tb.Helper()
	c, err := counters(r.c.Maps[bpfMapCounters])
	if err != nil {
		r.tb.Fatal(err)
	}
	return c
}

// answer returns the text of the answer with one value.
func answer(key, value string) string {
	return fmt.Sprintf("VALUE %s 0 %d\r\n%s\r\nEND\r\n", key, len(value), value)
}
