package arenaxdp

import (
	"net/netip"
	"strings"

	"github.com/rbtool/rbtool/arena/container"
)

// change returns the packet d, changed by f.
func change(d datagram, f func(p []byte) []byte) []byte { return f(d.bytes()) }

// resum corrects the checksum of the IPv4 header.
func resum(p []byte) []byte {
	ip := p[ethernetSize : ethernetSize+20]
	ip[10], ip[11] = 0, 0
	be.PutUint16(ip[10:], ^checksum(ip, 0))
	return p
}

func set(at int, values ...byte) func([]byte) []byte {
	return func(p []byte) []byte { copy(p[at:], values); return p }
}

func setIPv4(at int, values ...byte) func([]byte) []byte {
	return func(p []byte) []byte { return resum(set(ethernetSize+at, values...)(p)) }
}

func with(d datagram, text string) datagram { d.payload = text; return d }

// passCase is a packet that the program passes on, and how it is counted.
type passCase struct {
	rule   string
	packet []byte
	want   Counters
}

func fromAddr(d datagram, addr string) []byte {
	d.from = netip.MustParseAddr(addr)
	return d.bytes()
}

func fromPort(d datagram, port uint16) []byte {
	d.fromPort = port
	return d.bytes()
}

// unanswerable returns datagrams that are not requests for one key in the table.
func unanswerable() []passCase {
	good4 := get(server4, "k")
	return []passCase{
		{"a key that is not there", get(server4, "absent").bytes(), Counters{Misses: 1}},
		{"the same by IPv6", get(server6, "absent").bytes(), Counters{Misses: 1}},
		{"a prefix of a stored key", get(server4, "k\x01"[:1]+"k").bytes(), Counters{Misses: 1}},
		{"another command", with(good4, framed(1, "set k 0 0 1\r\n")).bytes(), Counters{Others: 1}},
		{"an upper case command", with(good4, framed(1, "GET k\r\n")).bytes(), Counters{Others: 1}},
		{"two keys", get(server4, "a b").bytes(), Counters{Others: 1}},
		{"a key with a tab", get(server4, "a\tb").bytes(), Counters{Others: 1}},
		{"a key with a control character", get(server4, "a\x7f").bytes(), Counters{Others: 1}},
		{"no key", get(server4, "").bytes(), Counters{Others: 1}},
		{"a key that is too long", get(server4, strings.Repeat("k", container.MaxKey+1)).bytes(), Counters{Others: 1}},
		{"a payload that is far too long", get(server4, strings.Repeat("k", 1300)).bytes(), Counters{Others: 1}},
		{"no end of the line", with(good4, framed(1, "get k\r\r")).bytes(), Counters{Others: 1}},
		{"an end of the line of one byte", with(good4, framed(1, "get k \n")).bytes(), Counters{Others: 1}},
		{"a second datagram", with(good4, "\x00\x01\x00\x01\x00\x01\x00\x00get k\r\n").bytes(), Counters{Others: 1}},
		{"one of two datagrams", with(good4, "\x00\x01\x00\x00\x00\x02\x00\x00get k\r\n").bytes(), Counters{Others: 1}},
		{"a frame alone", with(good4, framed(1, "")).bytes(), Counters{Others: 1}},
		{"less than a frame", with(good4, "abc").bytes(), Counters{Others: 1}},
		{"no payload", with(good4, "").bytes(), Counters{Others: 1}},
	}
}

// foreign returns packets that are not datagrams to the program's port and addresses.
func foreign() []passCase {
	good4, good6 := get(server4, "k"), get(server6, "k")
	elsewhere4, elsewhere6, port := good4, good6, good4
	elsewhere4.to, elsewhere6.to = netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("2001:db8::3")
	port.toPort = 11212
	return []passCase{
		{"another address", elsewhere4.bytes(), Counters{}},
		{"another IPv6 address", elsewhere6.bytes(), Counters{}},
		{"another port", port.bytes(), Counters{}},
		{"another MAC", change(good4, set(0, 2, 0, 0, 0, 0, 3)), Counters{}},
		{"to all MACs", change(good4, set(0, 255, 255, 255, 255, 255, 255)), Counters{}},
		{"TCP", change(good4, setIPv4(9, 6)), Counters{}},
		{"a first fragment", change(good4, setIPv4(6, 0x20, 0)), Counters{}},
		{"a later fragment", change(good4, setIPv4(6, 0, 1)), Counters{}},
		{"IPv4 options", change(good4, setIPv4(0, 0x46)), Counters{}},
		{"another version of IP", change(good4, setIPv4(0, 0x55)), Counters{}},
		{"an IPv6 extension", change(good6, set(ethernetSize+6, 0)), Counters{}},
		{"an IPv6 fragment", change(good6, set(ethernetSize+6, 44)), Counters{}},
		{"ARP", change(good4, set(12, 8, 6)), Counters{}},
		{"a VLAN", change(good4, set(12, 0x81, 0)), Counters{}},
	}
}

// malformed returns datagrams with impossible headers.
func malformed() []passCase {
	good4, good6 := get(server4, "k"), get(server6, "k")
	return []passCase{
		{"a wrong IPv4 checksum", change(good4, set(ethernetSize+10, 0xde, 0xad)), Counters{Malformed: 1}},
		{"an IPv4 length beyond the packet", change(good4, setIPv4(2, 0, 200)), Counters{Malformed: 1}},
		{"an IPv4 length below its header", change(good4, setIPv4(2, 0, 19)), Counters{Malformed: 1}},
		{"an IPv4 length without the payload", change(good4, setIPv4(2, 0, 28)), Counters{Malformed: 1}},
		{"a UDP length beyond IPv4's", change(good4, set(ethernetSize+24, 0, 24)), Counters{Malformed: 1}},
		{"a UDP length below its header", change(good4, set(ethernetSize+24, 0, 7)), Counters{Malformed: 1}},
		{"a UDP length of 0", change(good4, set(ethernetSize+24, 0, 0)), Counters{Malformed: 1}},
		{"an IPv6 length beyond the packet", change(good6, set(ethernetSize+4, 0, 200)), Counters{Malformed: 1}},
		{"an IPv6 length of 0", change(good6, set(ethernetSize+4, 0, 0)), Counters{Malformed: 1}},
		{"both lengths beyond the packet", change(good6, func(p []byte) []byte {
			return set(ethernetSize+44, 0, 200)(set(ethernetSize+4, 0, 200)(p))
		}), Counters{Malformed: 1}},
		{"IPv6 in name only", change(good6, set(ethernetSize, 0x40)), Counters{Malformed: 1}},
		{"IPv6 without a checksum", change(good6, set(ethernetSize+46, 0, 0)), Counters{Malformed: 1}},
		{"from no port", fromPort(good4, 0), Counters{Malformed: 1}},
		{"from a group's MAC", change(good4, set(6, 1)), Counters{Malformed: 1}},
		{"from 0.0.0.0", fromAddr(good4, "0.0.0.0"), Counters{Malformed: 1}},
		{"from loopback", fromAddr(good4, "127.0.0.1"), Counters{Malformed: 1}},
		{"from multicast", fromAddr(good4, "224.0.0.1"), Counters{Malformed: 1}},
		{"from broadcast", fromAddr(good4, "255.255.255.255"), Counters{Malformed: 1}},
		{"from ::", fromAddr(good6, "::"), Counters{Malformed: 1}},
		{"from ::1", fromAddr(good6, "::1"), Counters{Malformed: 1}},
		{"from IPv6 multicast", fromAddr(good6, "ff02::1"), Counters{Malformed: 1}},
		{"IPv6 from an IPv4 address", fromAddr(good6, "::ffff:192.0.2.2"), Counters{Malformed: 1}},
	}
}

// refused returns requests from sources that are not allowed, and with wrong checksums.
func refused() []passCase {
	good4, good6 := get(server4, "k"), get(server6, "k")
	return []passCase{
		{"from the port of this server", fromPort(good4, DefaultPort), Counters{ServerPorts: 1}},
		{"from the last port that takes privileges", fromPort(good4, 1023), Counters{ServerPorts: 1}},
		{"from the port of a name server", fromPort(good6, 53), Counters{ServerPorts: 1}},
		{"from another network", fromAddr(good4, "198.51.100.1"), Counters{Sources: 1}},
		{"from another IPv6 network", fromAddr(good6, "2001:db8:0:1::1"), Counters{Sources: 1}},
		{"from the server's own address", fromAddr(good4, server4.String()), Counters{Sources: 1}},
		{"from the server's own IPv6 address", fromAddr(good6, server6.String()), Counters{Sources: 1}},
		{"from the network's broadcast address", fromAddr(good4, "192.0.2.255"), Counters{Sources: 1}},
		{"from the network itself", fromAddr(good4, "192.0.2.0"), Counters{Sources: 1}},
		{"from all routers", fromAddr(good6, "2001:db8::"), Counters{Sources: 1}},

		{"a wrong UDP checksum", change(good4, set(ethernetSize+26, 0xde, 0xad)), Counters{Checksums: 1}},
		{"a wrong UDP checksum with IPv6", change(good6, set(ethernetSize+46, 0xde, 0xad)), Counters{Checksums: 1}},
		{"a changed key", change(good4, set(ethernetSize+20+8+8+4, 'K')), Counters{Checksums: 1}},
		{"a changed frame", change(good6, set(ethernetSize+40+8, 0xff)), Counters{Checksums: 1}},
	}
}
