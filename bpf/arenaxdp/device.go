package arenaxdp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/sentinel"
)

var errNoInterface = sentinel.New(sentinel.NotFound, "no such interface")

// errLoopback means that the interface is the loopback device. All its clients have addresses of this
// host, which get no answers.
var errLoopback = errors.New("interface is the loopback device: all its clients are on this host")

// device is a network interface in the network namespace of the thread that opened it.
type device struct {
	index   int
	mac     net.HardwareAddr
	handle  *netlink.Handle
	changes *nl.NetlinkSocket // receives a message for each change of an address
}

func openDevice(name string) (_ *device, err error) {
	d := &device{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	l, err := d.handle.LinkByName(name)
	if _, absent := errors.AsType[netlink.LinkNotFoundError](err); absent || name == "" {
		return nil, errNoInterface
	} else if err != nil {
		return nil, err
	}
	if l.Attrs().Flags&net.FlagLoopback != 0 {
		return nil, errLoopback
	}
	d.index, d.mac = l.Attrs().Index, l.Attrs().HardwareAddr
	// Subscribe before reading the addresses, so that no change is missed.
	d.changes, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return nil, fmt.Errorf("subscribe to changes of addresses: %w", err)
	}
	return d, nil
}

func (d *device) close() {
	if d.changes != nil {
		d.changes.Close()
	}
	if d.handle != nil {
		d.handle.Close()
	}
}

// networks returns the interface's addresses, each with its network.
func (d *device) networks() ([]network, error) {
	self := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: d.index}}
	addrs, err := d.handle.AddrList(self, netlink.FAMILY_ALL)
	for tries := 0; errors.Is(err, netlink.ErrDumpInterrupted) && tries < 10; tries++ {
		addrs, err = d.handle.AddrList(self, netlink.FAMILY_ALL)
	}
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var networks []network
	for _, a := range addrs {
		n := network{addr: prefixOf(a.IPNet).Addr(), prefix: prefixOf(a.IPNet).Masked()}
		if a.Peer != nil {
			n.prefix = prefixOf(a.Peer).Masked()
		}
		if b, ok := netip.AddrFromSlice(a.Broadcast); ok {
			n.broadcast = b.Unmap()
		}
		networks = append(networks, n)
	}
	return networks, nil
}

// reach returns the rules for the interface's current addresses.
func (d *device) reach(opts Options) (*reach, error) {
	networks, err := d.networks()
	if err != nil {
		return nil, err
	}
	r := newReach(networks, opts)
	if len(r.local) == 0 || len(r.local) > maxAddresses {
		return nil, fmt.Errorf("interface has %d addresses, not between 1 and %d", len(r.local), maxAddresses)
	}
	return r, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}

// follow calls f with the new reach after each change of an address. It returns nil when ctx ends, or f's
// error. Call it once.
func (d *device) follow(ctx context.Context, opts Options, f func(*reach) error) error {
	stop := context.AfterFunc(ctx, d.changes.Close)
	defer stop()
	for {
		// ENOBUFS means that the kernel dropped messages: addresses have changed then too.
		_, _, err := d.changes.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("follow addresses: %w", err)
		}
		networks, err := d.networks()
		if err == nil {
			err = f(newReach(networks, opts))
		}
		if err != nil {
			return fmt.Errorf("follow addresses: %w", err)
		}
	}
}
