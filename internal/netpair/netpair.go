// Package netpair creates two network namespaces joined by a pair of veth devices, for tests and
// benchmarks that send packets. The namespaces belong to the process and end with it.
package netpair

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/netns"
)

// ErrNotSupported means that the kernel has no veth devices.
var ErrNotSupported = errors.New("veth devices not supported")

// End is one of the two namespaces, and the device in it.
type End struct {
	Device     string
	IPv4, IPv6 netip.Addr // from the address ranges reserved for documentation

	ns *os.File
}

// Pair has the two ends, which can reach each other by their addresses. An XDP program on the
// server's device may send packets (XDP_TX).
type Pair struct {
	Server, Client *End

	pass link.Link
}

// New creates the namespaces. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN. The caller closes the Pair.
func New() (_ *Pair, err error) {
	p := &Pair{
		Server: &End{Device: "server", IPv4: netip.MustParseAddr("192.0.2.1"), IPv6: netip.MustParseAddr("2001:db8::1")},
		Client: &End{Device: "client", IPv4: netip.MustParseAddr("192.0.2.2"), IPv6: netip.MustParseAddr("2001:db8::2")},
	}
	defer func() {
		if err != nil {
			p.Close()
			err = fmt.Errorf("join network namespaces: %w", err)
		}
	}()
	for _, e := range []*End{p.Server, p.Client} {
		if e.ns, err = newNamespace(); err != nil {
			return nil, err
		}
	}
	if err := p.Server.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: p.Server.Device},
			PeerName:  p.Client.Device, PeerNamespace: netlink.NsFd(int(p.Client.ns.Fd())),
		})
	}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSupported, err)
	}
	macs := map[*End]net.HardwareAddr{}
	for _, e := range []*End{p.Server, p.Client} {
		if macs[e], err = e.setUp(); err != nil {
			return nil, err
		}
	}
	// The neighbour entries are set in advance, so that no packet waits for neighbour discovery.
	return p, errors.Join(p.Server.meet(p.Client, macs[p.Client]), p.Client.meet(p.Server, macs[p.Server]), p.passAll())
}

// newNamespace creates a network namespace and returns a descriptor that keeps it alive.
func newNamespace() (ns *os.File, err error) {
	err = netns.Run(func() error {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

// Do calls f on a thread in the namespace. Goroutines that f starts are not in the namespace.
// Sockets and processes that f creates stay in it.
func (e *End) Do(f func() error) error {
	return netns.OnThread(func() error {
		if err := unix.Setns(int(e.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// Namespace returns a path by which other processes can open the namespace while this process
// lives.
func (e *End) Namespace() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), e.ns.Fd()) }

// Close releases the namespaces. A namespace ends when its last socket and process have ended.
func (p *Pair) Close() error {
	var errs []error
	if p.pass != nil {
		errs = append(errs, p.pass.Close())
	}
	for _, e := range []*End{p.Server, p.Client} {
		if e.ns != nil {
			errs = append(errs, e.ns.Close())
		}
	}
	return errors.Join(errs...)
}

// passAll attaches a program to the client's device that passes every packet. A veth device
// delivers packets from an XDP program at its other end only if it has a program itself
// (drivers/net/veth.c, veth_xdp_flush).
func (p *Pair) passAll() error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "pass", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer prog.Close()
	return p.Client.Do(func() error {
		dev, err := net.InterfaceByName(p.Client.Device)
		if err != nil {
			return err
		}
		p.pass, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.Index})
		return err
	})
}

const xdpPass = 2 // XDP_PASS of enum xdp_action, linux/bpf.h
