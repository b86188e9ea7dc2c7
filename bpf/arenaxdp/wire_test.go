package arenaxdp

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// datagram describes a UDP packet.
type datagram struct {
	from, to         netip.Addr
	fromPort, toPort uint16
	payload          string
}

const ethernetSize = 14

var be = binary.BigEndian

// get returns a request for key to the address to, from the client's address of the same family.
func get(to netip.Addr, key string) datagram {
	from := client4
	if to.Is6() {
		from = client6
	}
	return datagram{from, to, 40000, DefaultPort, framed(7, "get "+key+"\r\n")}
}

// framed returns a frame followed by text.
func framed(id uint16, text string) string {
	return string(be.AppendUint16(nil, id)) + "\x00\x00\x00\x01\x00\x00" + text
}

// bytes returns the packet with all its headers.
func (d datagram) bytes() []byte {
	udp := be.AppendUint16(nil, d.fromPort)
	udp = be.AppendUint16(udp, d.toPort)
	udp = be.AppendUint16(udp, uint16(8+len(d.payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, d.payload...)
	be.PutUint16(udp[6:], cmp.Or(^checksum(udp, pseudo(d.from, d.to, len(udp))), 0xffff))
	packet := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	if d.to.Is4() {
		packet = append(packet, 8, 0)
		ip := []byte{0x45, 0x10}
		ip = be.AppendUint16(ip, uint16(20+len(udp)))
		ip = append(ip, 0x12, 0x34, 0x40, 0, 63, 17, 0, 0)
		ip = append(ip, d.from.AsSlice()...)
		ip = append(ip, d.to.AsSlice()...)
		be.PutUint16(ip[10:], ^checksum(ip, 0))
		packet = append(packet, ip...)
	} else {
		packet = append(packet, 0x86, 0xdd, 0x60, 1, 2, 3)
		packet = be.AppendUint16(packet, uint16(len(udp)))
		packet = append(packet, 17, 63)
		packet = append(packet, d.from.AsSlice()...)
		packet = append(packet, d.to.AsSlice()...)
	}
	return append(packet, udp...)
}

// checksum adds the 16-bit words of b to sum as in RFC 1071, without the final inversion.
func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(be.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// pseudo returns the sum of UDP's pseudo header.
func pseudo(from, to netip.Addr, udpLen int) uint32 {
	return uint32(checksum(append(from.AsSlice(), to.AsSlice()...), 17+uint32(udpLen)))
}

// parse parses a packet from server to client and checks its headers and checksums.
func parse(p []byte) (d datagram, err error) {
	if len(p) < ethernetSize+28 || string(p[:6]) != "\x02\x00\x00\x00\x00\x02" || string(p[6:12]) != "\x02\x00\x00\x00\x00\x01" {
		return d, fmt.Errorf("%d bytes from %x to %x", len(p), p[6:12], p[:6])
	}
	ip := p[ethernetSize:]
	var udp []byte
	switch be.Uint16(p[12:]) {
	case 0x0800:
		if ip[0] != 0x45 || ip[9] != 17 || be.Uint16(ip[6:]) != 0x4000 || ip[8] != 64 || int(be.Uint16(ip[2:])) != len(ip) {
			return d, fmt.Errorf("IPv4 header %x of %d bytes", ip[:20], len(ip))
		}
		if sum := checksum(ip[:20], 0); sum != 0xffff {
			return d, fmt.Errorf("IPv4 checksum: sum %#x", sum)
		}
		d.from, d.to, udp = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), ip[20:]
	case 0x86dd:
		if ip[0]>>4 != 6 || ip[6] != 17 || ip[7] != 64 || len(ip) < 48 || int(be.Uint16(ip[4:])) != len(ip)-40 {
			return d, fmt.Errorf("IPv6 header %x of %d bytes", ip[:40], len(ip))
		}
		d.from, d.to, udp = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), ip[40:]
	default:
		return d, errors.New("not IP")
	}
	d.fromPort, d.toPort, d.payload = be.Uint16(udp), be.Uint16(udp[2:]), string(udp[8:])
	if int(be.Uint16(udp[4:])) != len(udp) || be.Uint16(udp[6:]) == 0 {
		return d, fmt.Errorf("UDP header %x of %d bytes", udp[:8], len(udp))
	}
	if sum := checksum(udp, pseudo(d.from, d.to, len(udp))); sum != 0xffff {
		return d, fmt.Errorf("UDP checksum: sum %#x", sum)
	}
	return d, nil
}
