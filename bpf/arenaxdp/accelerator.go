package arenaxdp

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
)

// DefaultPort is memcached's.
const DefaultPort = 11211

// Mode is where in the kernel the program runs.
type Mode int

// Modes. Generic runs in the stack, after the packet was made ready for it, and works with every
// device; Native in the driver, which must know how.
const (
	Any Mode = iota // native where the driver can, else generic
	Native
	Generic
)

func (m Mode) flags() link.XDPAttachFlags {
	switch m {
	case Native:
		return link.XDPDriverMode
	case Generic:
		return link.XDPGenericMode
	}
	return 0
}

// Options say where to answer. All but Interface may be left out.
type Options struct {
	Interface string // its name
	Port      uint16 // 0 is DefaultPort
	// Addresses are those that requests must be for, up to 256: nil are those that the interface
	// has now.
	Addresses []netip.Addr
	Mode      Mode
}

// maxAddresses is max_entries of the map.
const maxAddresses = 256

// Accelerator is the program on an interface. Its methods may be called by many goroutines
// at once.
type Accelerator struct {
	mu   sync.Mutex
	c    *arena.Collection // nil after Close
	link link.Link
}

// ErrNoInterface says that there is no interface with the name. It is [fs.ErrNotExist].
var ErrNoInterface error = noInterface{}

type noInterface struct{}

func (noInterface) Error() string        { return "no such interface" }
func (noInterface) Is(target error) bool { return target == fs.ErrNotExist }

// Attach lets the program answer on an interface from the KV with a name, as long as the
// Accelerator is open and the process lives. The arena must stay open as long.
//
// Errors: [ErrNoInterface]; those of [arena.OpenKV] and [arena.LoadCollection]; EBUSY where another XDP program is on
// the interface; EOPNOTSUPP where its driver cannot.
func Attach(h *arena.Heap, table string, opts Options) (*Accelerator, error) {
	x, err := attach(h, table, opts)
	if err != nil {
		return nil, fmt.Errorf("attach to interface %q: %w", opts.Interface, err)
	}
	return x, nil
}

func attach(h *arena.Heap, table string, opts Options) (*Accelerator, error) {
	dev, err := interfaceNamed(opts.Interface)
	if err != nil {
		return nil, err
	}
	if opts.Addresses == nil {
		if opts.Addresses, err = addressesOf(dev); err != nil {
			return nil, err
		}
	}
	c, err := load(h, table, dev.HardwareAddr, opts)
	if err != nil {
		return nil, err
	}
	l, err := link.AttachXDP(link.XDPOptions{
		Program: c.Programs[bpfProgKvGet], Interface: dev.Index, Flags: opts.Mode.flags(),
	})
	if err != nil {
		c.Close()
		return nil, explain(err)
	}
	return &Accelerator{c: c, link: l}, nil
}

// load returns the program for an interface with this address, which answers for those of opts.
func load(h *arena.Heap, table string, mac net.HardwareAddr, opts Options) (_ *arena.Collection, err error) {
	if _, err := arena.OpenKV(h, table); err != nil {
		return nil, err
	}
	root, err := h.Root(table, arena.KindTable)
	if err != nil {
		return nil, err
	}
	if len(opts.Addresses) == 0 || len(opts.Addresses) > maxAddresses {
		return nil, fmt.Errorf("it has %d addresses: wanted 1 to %d", len(opts.Addresses), maxAddresses)
	}
	if opts.Port == 0 {
		opts.Port = DefaultPort
	}
	var ethernet [6]byte // zeros where the interface has none, as loopback
	if len(mac) != 0 && len(mac) != len(ethernet) {
		return nil, fmt.Errorf("it is no Ethernet: its address is %s", mac)
	}
	copy(ethernet[:], mac)
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		spec.Variables[bpfVarMac].Set(ethernet),
		spec.Variables[bpfVarTableRoot].Set(root.Number),
		spec.Variables[bpfVarPort].Set(bits.ReverseBytes16(opts.Port)), // the target is little endian
	)
	if err != nil {
		return nil, err
	}
	c, err := arena.LoadCollection(spec, arena.LoadOptions{
		Arenas: map[string]*arena.Arena{bpfMapArena: h.Arena()}, NoVariables: true,
	})
	if err != nil {
		return nil, err
	}
	for _, a := range opts.Addresses {
		if err := c.Maps[bpfMapAddresses].Put(a.As16(), uint8(1)); err != nil {
			c.Close()
			return nil, fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return c, nil
}

// interfaceNamed is net.InterfaceByName, whose error for one that is not there cannot be told
// from others.
func interfaceNamed(name string) (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, dev := range all {
		if dev.Name == name {
			return &dev, nil
		}
	}
	return nil, ErrNoInterface
}

func addressesOf(dev *net.Interface) ([]netip.Addr, error) {
	nets, err := dev.Addrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs, nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w (another XDP program is on it)", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (its driver cannot run XDP programs: the generic mode can)", err)
	}
	return err
}

// Close takes the program from the interface.
func (x *Accelerator) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.c == nil {
		return nil
	}
	err := x.link.Close()
	x.c.Close()
	x.c = nil
	if err != nil {
		return fmt.Errorf("detach from interface: %w", err)
	}
	return nil
}

// Counters are what became of the datagrams to the port, for an address that is answered for,
// since Attach. All but Hits went up the stack.
type Counters struct {
	Hits      uint64 `json:"hits"`      // answered
	Misses    uint64 `json:"misses"`    // the key is not in the table
	Others    uint64 `json:"others"`    // no request for one key
	Malformed uint64 `json:"malformed"` // lengths that contradict each other, a wrong checksum
	Busy      uint64 `json:"busy"`      // the table was changed each time that it was read
	Broken    uint64 `json:"broken"`    // the table or the value cannot be right
	NoRoom    uint64 `json:"no_room"`   // the driver left none for the answer
}

// Counters sums the counters of all CPUs: no snapshot of one moment while packets come.
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
	}
	return sum, nil
}
