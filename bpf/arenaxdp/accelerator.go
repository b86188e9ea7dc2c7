package arenaxdp

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/arena/loader"
)

// DefaultPort is the port of memcached.
const DefaultPort = 11211

// Options say which requests to answer. Only Interface is required. Do not change the slices after
// passing them.
type Options struct {
	Interface string // name of the network interface
	Port      uint16 // 0 is DefaultPort
	// Addresses are the destination addresses of the requests to answer, 1 to 256. Nil means the
	// interface's addresses.
	Addresses []netip.Addr
	// Allow are the networks of the hosts to answer, at most 1024. Nil means the networks of the
	// interface's addresses.
	Allow []netip.Prefix
	// Growth limits an answer to this many times the bytes of its request, both with IP and UDP
	// headers: 1 to 1000. 0 means 8, which is enough for any value if the request has one key.
	Growth int
	// Mode is where the program runs: in the driver (link.XDPDriverMode), which must support it, or in
	// the network stack (link.XDPGenericMode). 0 means the driver if it supports XDP, else the stack.
	// A Server ignores it.
	Mode link.XDPAttachFlags
}

// The default of Options.Growth lets a get of one key return any value of a [container.KV]: at most 312
// bytes with IPv4, for a request of 43.
const (
	defaultGrowth = 8
	maxGrowth     = 1000
)

const (
	maxAddresses = 256 // max_entries of the map addresses
	maxAllow     = 1024
)

// complete replaces zero values by defaults and checks the limits.
func (o Options) complete() (Options, error) {
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	if o.Growth == 0 {
		o.Growth = defaultGrowth
	}
	if o.Growth < 1 || o.Growth > maxGrowth {
		return o, fmt.Errorf("growth %d is not between 1 and %d", o.Growth, maxGrowth)
	}
	if len(o.Allow) > maxAllow {
		return o, fmt.Errorf("%d allowed networks: there may be at most %d", len(o.Allow), maxAllow)
	}
	return o, nil
}

// Accelerator is the program attached to an interface. Any number of goroutines may call its methods at
// once.
type Accelerator struct {
	opts Options
	dev  *device
	link link.Link

	mu    sync.Mutex
	c     *loader.Collection // nil after Close
	reach *reach             // what the program's maps hold
}

// Attach attaches the program to an interface of the calling thread's network namespace. The program answers
// with values of the [container.KV] called table, until Close or the end of the process. The caller closes the
// Accelerator, and keeps the arena open until then.
//
// Errors match fs.ErrNotExist if there is no such interface, EBUSY if it has another XDP program, and
// EOPNOTSUPP if its driver does not support Options.Mode. Other errors are those of [container.OpenKV] and
// [loader.NewCollection]. Attach refuses the loopback device, since all its clients are on this host, and an
// interface without addresses unless Options.Addresses are given.
func Attach(h *container.Heap, table string, opts Options) (*Accelerator, error) {
	x, err := attach(h, table, opts)
	if err != nil {
		return nil, fmt.Errorf("attach to interface %q: %w", opts.Interface, err)
	}
	return x, nil
}

func attach(h *container.Heap, table string, opts Options) (_ *Accelerator, err error) {
	if opts, err = opts.complete(); err != nil {
		return nil, err
	}
	x := &Accelerator{opts: opts}
	if x.dev, err = openDevice(opts.Interface); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			x.dev.close()
		}
	}()
	if x.reach, err = x.dev.reach(opts); err != nil {
		return nil, err
	}
	if x.c, err = load(h, table, x.dev.mac, x.reach, opts); err != nil {
		return nil, err
	}
	x.link, err = link.AttachXDP(link.XDPOptions{
		Program: x.c.Programs[bpfProgKvGet], Interface: x.dev.index, Flags: opts.Mode,
	})
	if err != nil {
		x.c.Close()
		return nil, explain(err)
	}
	return x, nil
}

// load loads the program for an interface with the Ethernet address mac. opts must have their defaults.
func load(h *container.Heap, table string, mac net.HardwareAddr, r *reach, opts Options) (*loader.Collection, error) {
	if _, err := container.OpenKV(h, table); err != nil {
		return nil, err
	}
	root, err := h.Root(table, container.KindTable)
	if err != nil {
		return nil, err
	}
	var ethernet [6]byte // zeros if the interface has no Ethernet address
	if len(mac) != 0 && len(mac) != len(ethernet) {
		return nil, fmt.Errorf("interface has the hardware address %s, which is not an Ethernet address", mac)
	}
	copy(ethernet[:], mac)
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		spec.Variables[bpfVarMac].Set(ethernet),
		spec.Variables[bpfVarTableRoot].Set(root.Number),
		spec.Variables[bpfVarPort].Set(bits.ReverseBytes16(opts.Port)), // to network byte order
		spec.Variables[bpfVarGrowth].Set(uint32(opts.Growth)),
	)
	if err != nil {
		return nil, err
	}
	c, err := loader.NewCollection(spec, loader.Options{
		Arenas: map[string]*arena.Arena{bpfMapArena: h.Arena()}, NoVariables: true,
	})
	if err != nil {
		return nil, err
	}
	if err := setReach(c, &reach{}, r); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// setReach replaces the contents old of the program's maps by now.
func setReach(c *loader.Collection, old, now *reach) error {
	return errors.Join(
		exchange(c.Maps[bpfMapSources], old.sources(), now.sources()),
		exchange(c.Maps[bpfMapAddresses], old.addresses(), now.addresses()),
	)
}

// exchange replaces the contents old of m by now. Keys in both stay present.
func exchange[K comparable](m *ebpf.Map, old, now map[K]uint8) error {
	for key, value := range now {
		if err := m.Put(key, value); err != nil {
			return fmt.Errorf("add address: %w", err)
		}
	}
	for key := range old {
		if _, stays := now[key]; stays {
			continue
		}
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove address: %w", err)
		}
	}
	return nil
}

// Follow updates the program whenever the addresses of the interface change, until ctx ends; then it returns
// nil. Without Follow, the program uses the addresses at the time of Attach. Call it once, in a goroutine of
// its own, and end ctx before Close: Close makes Follow return an error. The error matches E2BIG if the
// interface gets more than 256 addresses.
func (x *Accelerator) Follow(ctx context.Context) error {
	err := x.dev.follow(ctx, x.opts, func(r *reach) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.c == nil {
			return os.ErrClosed
		}
		old := x.reach
		x.reach = r
		return setReach(x.c, old, r)
	})
	if err != nil {
		return fmt.Errorf("interface %q: %w", x.opts.Interface, err)
	}
	return nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w (another XDP program is attached)", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (the driver cannot run XDP programs; use the generic mode)", err)
	}
	return err
}

// Close detaches the program. It is idempotent.
func (x *Accelerator) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.c == nil {
		return nil
	}
	err := x.link.Close()
	x.dev.close()
	x.c.Close()
	x.c = nil
	if err != nil {
		return fmt.Errorf("detach from interface: %w", err)
	}
	return nil
}

// Counters counts the datagrams that arrived since Attach at the port of one of the addresses, by outcome,
// each in one field. The program passed all except Hits to the network stack.
type Counters struct {
	Hits      uint64 // answered
	Misses    uint64 // the key is not in the table
	Others    uint64 // the datagram is not a request for one key
	Malformed uint64 // headers with impossible lengths or addresses, or a wrong IP checksum
	Busy      uint64 // the bucket changed during every attempt to read it
	Broken    uint64 // the table or the value is corrupt
	NoRoom    uint64 // the driver has no room for the answer
	Checksums uint64 // the UDP checksum is wrong
	// Datagrams that may be requests and must not be answered:
	ServerPorts uint64 // they come from a port that servers use
	Sources     uint64 // they come from an address that is not allowed
	Large       uint64 // the answer would exceed Options.Growth
}

// Counters returns the sums over all CPUs. While packets arrive, the counters of different CPUs are read
// at different times. The error matches [os.ErrClosed] after Close.
func (x *Accelerator) Counters() (Counters, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.c == nil {
		return Counters{}, fmt.Errorf("read counters: %w", os.ErrClosed)
	}
	return counters(x.c.Maps[bpfMapCounters])
}

func counters(m *ebpf.Map) (sum Counters, err error) {
	var cpus []bpfCounts
	if err := m.Lookup(uint32(0), &cpus); err != nil {
		return sum, fmt.Errorf("read counters: %w", err)
	}
	for _, c := range cpus {
		sum.Hits += c.Hits
		sum.Misses += c.Misses
		sum.Others += c.Others
		sum.Malformed += c.Malformed
		sum.Busy += c.Busy
		sum.Broken += c.Broken
		sum.NoRoom += c.NoRoom
		sum.Checksums += c.Checksums
		sum.ServerPorts += c.ServerPorts
		sum.Sources += c.Sources
		sum.Large += c.Large
	}
	return sum, nil
}
