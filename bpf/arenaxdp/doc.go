// Package arenaxdp answers requests for the values of a [container.KV] in the kernel: an XDP program reads
// the table in the arena as packets arrive.
//
//	x, err := arenaxdp.Attach(heap, "kv", arenaxdp.Options{Interface: "eth0"})
//	...
//	defer x.Close()
//	kv.Put("colour", []byte("blue")) // is answered from now on
//
// The protocol is memcached's over UDP. The program answers one kind of request, in one datagram:
//
//	frame "get KEY\r\n"
//	frame "VALUE KEY 0 BYTES\r\n" value "\r\nEND\r\n"
//
// A frame has four numbers of 16 bits, big endian: an id that the client chooses, the number of this
// datagram (0), the number of datagrams (1), and 0. A key has 1 to [container.MaxKey] bytes, without
// blanks and control characters.
//
// # What goes up the stack
//
// Every other packet goes up the stack unchanged: requests for absent keys or several keys, other
// commands, packets with IP options, fragments, packets with wrong lengths or checksums, packets for other
// hosts, and requests that must not be answered (see below). A [Server], or another server, answers the
// rest in a process. [Counters] counts the packets by kind.
//
// A request's UDP checksum must be right or absent. IPv4 packets may have none. Packets between virtual
// devices have only the sum of the pseudo header (CHECKSUM_PARTIAL, include/linux/skbuff.h), which a
// program cannot tell from a checksum, and which is accepted too. An answer has a complete checksum.
//
// In the driver of a veth device, two limits apply, which the generic mode does not have: the device
// delivers the program's packets only if its peer has an XDP program too, such as one that passes all
// packets (drivers/net/veth.c, veth_xdp_flush), and it has no room for most values above 200 bytes.
//
// # Who gets an answer
//
// The source of a datagram can be forged, and the answer goes to it. To keep answers from third parties,
// the program and a [Server] answer only
//
//   - requests that arrive at the interface for one of its addresses: not by loopback, broadcast or
//     multicast, nor for an address of another interface;
//   - hosts in the networks of its addresses, or in those of Options.Allow: not this host's own
//     addresses, loopback, broadcast and multicast;
//   - ports that are no server's: not those below 1024, 11211 and Options.Port;
//   - commands. No answer begins like a command, so two servers cannot answer each other;
//   - with at most Options.Growth times the request's bytes, headers included, and each key once. For
//     larger values, the program sends nothing, and a server sends SERVER_ERROR if that fits. END would
//     be a false miss, after which a client refills its cache.
//
// [Accelerator.Follow] and [Server.Serve] follow changes of the addresses by netlink.
//
// # Consistency
//
// An answer has a value that the table had at one moment while the request was processed: see
// [container.Table].
//
// # Requirements
//
// Linux 6.12, CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
package arenaxdp

//go:generate go tool bpf2go -target bpfel -go-package arenaxdp -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type counts -type address -type source bpf arenaxdp.bpf.c
