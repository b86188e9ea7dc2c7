package decode

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// socketAddress appends the address and port in b, a struct of the family sockaddr, as 10.0.0.1:443 and [fe80::1%2]:443, or
// the path of a Unix socket. Another family is shown in hex, an address that is all zeros as "unspec".
func (r *run) socketAddress(b []byte) {
	family := binary.NativeEndian.Uint16(b)
	switch {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		ip := netip.AddrFrom4([4]byte(b[4:8]))
		r.out = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[2:])).AppendTo(r.out)
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		ip := netip.AddrFrom16([16]byte(b[8:24]))
		if zone := binary.NativeEndian.Uint32(b[24:]); zone != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(zone), 10))
		}
		r.out = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[2:])).AppendTo(r.out)
	case family == unix.AF_UNIX && r.chars(unixPath(b[2:])):
	case len(bytes.TrimRight(b, "\x00")) == 0:
		r.out = append(r.out, "unspec"...)
	default:
		r.bytes(b)
	}
}

// unixPath returns the path of a Unix socket, with @ for the NUL at the start of an abstract one as ss(8) shows it.
func unixPath(path []byte) []byte {
	if len(path) > 1 && path[0] == 0 && path[1] != 0 {
		name, _, _ := bytes.Cut(path[1:], []byte{0})
		return append([]byte{'@'}, name...)
	}
	name, _, _ := bytes.Cut(path, []byte{0})
	return name
}
