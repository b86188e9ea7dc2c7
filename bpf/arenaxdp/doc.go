// Package arenaxdp answers requests for the values of an [container.KV] in the kernel, by an
// XDP program that reads the table in the arena where packets arrive:
//
//	x, err := arenaxdp.Attach(heap, "kv", arenaxdp.Options{Interface: "eth0"})
//	...
//	defer x.Close()
//	kv.Put("colour", []byte("blue")) // is answered from now on
//
// The protocol is memcached's over UDP, of which the program knows one request in one
// datagram:
//
//	frame "get KEY\r\n"
//	frame "VALUE KEY 0 BYTES\r\n" value "\r\nEND\r\n"
//
// A frame is 8 bytes: an id that the client chooses, the number of this datagram (0),
// how many there are (1), 0; 16 bits each, big endian. A key has 1 to [container.MaxKey]
// bytes, no blanks and no control characters among them.
//
// # What goes up the stack
//
// Everything else, unchanged: absent keys, other commands, several keys, packets with IP options,
// fragments, wrong lengths or checksums, packets for other hosts, and those that get no answer
// at all (see below). A [Server], or another server, answers the rest in a process. [Counters]
// count each kind.
//
// A request's UDP checksum must be right or absent. IPv4 packets may have none, and between virtual
// devices packets have the sum of the pseudo header in its place (CHECKSUM_PARTIAL,
// include/linux/skbuff.h), which a program cannot tell from a checksum. The answer's is complete.
//
// A veth device delivers what the program sends only where there is an XDP program at its other
// end too, one that lets everything pass will do (drivers/net/veth.c,
// veth_xdp_flush), and has no room for most values of more than 200 bytes; the generic mode
// has neither limit.
//
// # Who gets an answer
//
// The source of a datagram can be forged, and the answer goes to it. So that they cannot be used to
// attack third parties, the program and a [Server] answer
//
//   - only what arrives at the interface for one of its addresses: not by loopback, broadcast or
//     multicast, nor for an address of another interface;
//   - only hosts in the networks of its addresses, or in those of Options.Allow; never this host's
//     own addresses, loopback, broadcast and multicast;
//   - never a server's port: the privileged ones below 1024, 11211 and Options.Port;
//   - only commands. No answer begins like a command, so two servers cannot answer each other;
//   - with at most Options.Growth times the request's bytes, headers included, and each key once. For
//     larger values the program sends nothing; a server sends SERVER_ERROR if that fits, else
//     nothing. END would be a false miss, after which a client refills its cache.
//
// [Accelerator.Follow] and [Server.Serve] follow changes of the addresses by netlink.
//
// # What an answer is
//
// A value that the table had at one moment while the request was processed, whatever is
// changed meanwhile: the program reads as [container.Table] says.
//
// Linux 6.12 (6.9 with a verifier that is up to it); CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
package arenaxdp

//go:generate go tool bpf2go -target bpfel -go-package arenaxdp -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type counts -type address -type source bpf arenaxdp.bpf.c
