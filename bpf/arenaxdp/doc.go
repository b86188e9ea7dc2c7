// Package arenaxdp answers requests for the values of an [arena.KV] in the kernel, by an
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
// how many there are (1), 0; 16 bits each, big endian. A key has 1 to [arena.MaxKey]
// bytes, no blanks and no control characters among them.
//
// # What goes up the stack
//
// Everything else, as it came: keys that are not in the table, other commands, several keys,
// packets with options, fragments, wrong lengths or checksums, what is addressed to others,
// and what gets no answer at all (see below). A [Server] answers the rest in a process; another
// server may as well. [Counters] tell how many there were.
//
// The UDP checksum of a request must be right where it has one. A packet of IPv4 may have
// none, and between virtual devices it has the sum of the pseudo header in its place
// (CHECKSUM_PARTIAL, include/linux/skbuff.h), which is all that a program can see of that. The
// answer's is right.
//
// A veth device delivers what the program sends only where there is an XDP program at its other
// end too, one that lets everything pass will do (drivers/net/veth.c,
// veth_xdp_flush), and has no room for most values of more than 200 bytes; the generic mode
// has neither limit.
//
// # Who gets an answer
//
// The source of a datagram can be forged, and an answer goes to it. So that neither the program nor
// a [Server] can be used against others, both answer
//
//   - only what arrives at the interface, for an address that it has: not by loopback, broadcast or
//     multicast, nor for an address of another interface;
//   - only hosts in the networks that its addresses are in, or in those of Options.Allow; never
//     this host's own addresses, loopback, broadcast and multicast;
//   - never a port that servers use: those below 1024, which take privileges, 11211 and
//     Options.Port;
//   - only commands. No answer begins like one, so two servers have nothing to say to each other;
//   - with at most Options.Growth times the request's bytes, headers included, and each key once. The
//     program is silent about a larger value; a server says SERVER_ERROR if that fits, else
//     nothing. END would be a false miss, which a cache's client fills.
//
// Addresses and networks are followed by netlink while [Accelerator.Follow] and [Server.Serve]
// run.
//
// # What an answer is
//
// A value that the table had at one moment while the request was processed, whatever is
// changed meanwhile: the program reads as [arena.Table] says.
//
// Linux 6.12 (6.9 with a verifier that is up to it); CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
package arenaxdp

//go:generate go tool bpf2go -target bpfel -go-package arenaxdp -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../headers" -type counts -type address -type source bpf arenaxdp.bpf.c
