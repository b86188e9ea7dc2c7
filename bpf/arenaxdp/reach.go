package arenaxdp

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// network is an address of an interface and its network.
type network struct {
	addr      netip.Addr
	prefix    netip.Prefix // the network; on a point-to-point link, the peer's
	broadcast netip.Addr   // the broadcast address, or the zero Addr
}

// reach holds the destination and source addresses of the requests to answer. The program and the server
// use the same rules.
type reach struct {
	local   []netip.Addr   // allowed destinations
	allowed []netip.Prefix // networks of the allowed sources
	refused []netip.Addr   // sources in these networks that are not allowed
}

// newReach returns the reach of an interface with these networks.
//
// It refuses the host's own addresses as sources: such a request is forged, or comes from a process that
// can read the arena itself. It also refuses a network's broadcast addresses and its first address (the
// network itself, or all routers): an answer would go to many hosts.
func newReach(networks []network, opts Options) *reach {
	r := &reach{local: opts.Addresses, allowed: opts.Allow}
	for _, n := range networks {
		if opts.Addresses == nil {
			r.local = append(r.local, n.addr)
		}
		if opts.Allow == nil {
			r.allowed = append(r.allowed, n.prefix)
		}
		r.refused = append(r.refused, n.addr)
		r.refused = append(r.refused, manyAt(n)...)
	}
	r.refused = append(r.refused, opts.Addresses...)
	return r
}

// manyAt returns the addresses of a network that reach several hosts.
func manyAt(n network) []netip.Addr {
	var addrs []netip.Addr
	if n.broadcast.IsValid() {
		addrs = append(addrs, n.broadcast)
	}
	if n.prefix.Addr().BitLen()-n.prefix.Bits() < 2 {
		return addrs // the network is one host, or two ends of a link (RFC 3021, RFC 6164)
	}
	addrs = append(addrs, n.prefix.Masked().Addr())
	if n.prefix.Addr().Is4() {
		first := n.prefix.Masked().Addr().As4()
		var last [4]byte
		hosts := ^uint32(0) >> n.prefix.Bits()
		binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(first[:])|hosts)
		addrs = append(addrs, netip.AddrFrom4(last))
	}
	return addrs
}

// mayAsk reports whether requests from the address from may be answered.
func (r *reach) mayAsk(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return isUnicast(from) && !slices.Contains(r.refused, from) &&
		slices.ContainsFunc(r.allowed, func(p netip.Prefix) bool { return p.Contains(from) })
}

// isUnicast reports whether an address can belong to another host. It has the rules of is_host4 and
// is_host6 in request.h.
func isUnicast(a netip.Addr) bool {
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first != 127 && first < 224
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]) != 0 && !a.IsMulticast()
}

// addresses returns the contents for the program's map addresses.
func (r *reach) addresses() map[[16]byte]uint8 {
	m := map[[16]byte]uint8{}
	for _, a := range r.local {
		m[a.As16()] = 1
	}
	return m
}

// sources returns the contents for the program's map sources. The longest prefix that matches an address
// decides.
func (r *reach) sources() map[bpfSource]uint8 {
	const may, mayNot = 1, 0
	m := map[bpfSource]uint8{}
	put := func(p netip.Prefix, value uint8) {
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96 // the key is ::ffff:a.b.c.d
		}
		m[bpfSource{Bits: uint32(bits), Address: p.Addr().As16()}] = value
	}
	// Refuse all IPv4 sources first: an allowed IPv6 network that contains ::ffff:0:0/96 must not allow
	// them.
	put(netip.PrefixFrom(netip.IPv4Unspecified(), 0), mayNot)
	for _, p := range r.allowed {
		put(p.Masked(), may)
	}
	for _, a := range r.refused {
		put(netip.PrefixFrom(a, a.BitLen()), mayNot)
	}
	return m
}
