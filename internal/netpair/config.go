package netpair

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddress gives a device of the namespace the address of p, in the network of p.
func (e *End) AddAddress(device string, p netip.Prefix) error {
	return e.changeAddress("add", netlink.AddrAdd, device, p)
}

// RemoveAddress undoes [End.AddAddress].
func (e *End) RemoveAddress(device string, p netip.Prefix) error {
	return e.changeAddress("remove", netlink.AddrDel, device, p)
}

func (e *End) changeAddress(verb string, change func(netlink.Link, *netlink.Addr) error, device string, p netip.Prefix) error {
	return e.with(device, func(l netlink.Link) error {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // usable at once
		}
		if err := change(l, a); err != nil {
			return fmt.Errorf("%s address %s: %w", verb, p, err)
		}
		return nil
	})
}

// AddRoute routes packets to dst through the gateway via, or, if via is not valid, straight to the device.
func (e *End) AddRoute(dst netip.Prefix, via netip.Addr) error {
	return e.with(e.Device, func(l netlink.Link) error {
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(dst)}
		if via.IsValid() {
			r.Gw = via.AsSlice()
		} else {
			r.Scope = netlink.SCOPE_LINK
		}
		if err := netlink.RouteAdd(r); err != nil {
			return fmt.Errorf("add route to %s: %w", dst, err)
		}
		return nil
	})
}

// with calls f with a device of the namespace, on a thread in it.
func (e *End) with(device string, f func(netlink.Link) error) error {
	return e.Do(func() error {
		l, err := netlink.LinkByName(device)
		if err == nil {
			err = f(l)
		}
		if err != nil {
			return fmt.Errorf("device %s: %w", device, err)
		}
		return nil
	})
}

// setUp starts the devices of a new namespace, and returns the hardware address of the pair's.
func (e *End) setUp() (mac net.HardwareAddr, err error) {
	err = errors.Join(
		e.with("lo", netlink.LinkSetUp),
		e.AddAddress(e.Device, netip.PrefixFrom(e.IPv4, 24)),
		e.AddAddress(e.Device, netip.PrefixFrom(e.IPv6, 64)),
		e.with(e.Device, func(l netlink.Link) error {
			mac = l.Attrs().HardwareAddr
			return netlink.LinkSetUp(l)
		}),
	)
	return mac, err
}

// meet adds neighbour entries for the addresses of the other end, whose device has the address mac.
func (e *End) meet(other *End, mac net.HardwareAddr) error {
	return e.with(e.Device, func(l netlink.Link) error {
		var errs []error
		for _, addr := range []netip.Addr{other.IPv4, other.IPv6} {
			errs = append(errs, netlink.NeighSet(&netlink.Neigh{
				LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac,
			}))
		}
		return errors.Join(errs...)
	})
}

// ipNet returns p, with its address unmasked, as package net has it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
