// Package arenaxdp answers requests for the values of a [container.KV] in the kernel: when a request
// arrives, an XDP program reads the value from the arena and sends the answer.
//
// The smallest use, with the [container.Heap] of an arena:
//
//	kv, err := container.NewKV(heap, "kv", 1000)
//	...
//	x, err := arenaxdp.Attach(heap, "kv", arenaxdp.Options{Interface: "eth0"})
//	...
//	defer x.Close()
//	kv.Put("colour", []byte("blue")) // requests for "colour" are answered from now on
//
// An [Accelerator] is the program in the kernel. A [Server] answers in the process what the program
// does not; each can be used alone.
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
// # What the program passes on
//
// The program passes every other packet to the host's network stack unchanged: requests for absent keys or
// several keys, other commands, packets with IP options, fragments, packets with wrong lengths or
// checksums, packets for other hosts, and requests that must not be answered (see below). A process with a
// [Server], or with any other server, answers the requests among them. [Counters] counts the packets by
// kind.
//
// A request's UDP checksum must be right or absent. Only IPv4 packets may have none. Between virtual
// devices, the checksum field holds only the sum of the pseudo header (CHECKSUM_PARTIAL,
// include/linux/skbuff.h). A program cannot tell that sum from a checksum, so it accepts it. An answer has
// a complete checksum.
//
// Two limits apply if the program runs in the driver of a veth device. The generic mode does not have
// them. First, the device delivers the program's answers only if its peer has an XDP program too, such as
// one that passes all packets (drivers/net/veth.c, veth_xdp_flush). Second, a packet has no room for most
// values above 200 bytes.
//
// # Who gets an answer
//
// The source address of a datagram can be forged, and the answer goes to that address. To keep attackers
// from directing answers at third parties, the program and a [Server] answer only
//
//   - requests that arrive at the interface for one of its addresses: not by loopback, broadcast or
//     multicast, nor for an address of another interface;
//   - hosts in the networks of its addresses, or in those of Options.Allow: not this host's own
//     addresses, loopback, broadcast and multicast;
//   - ports that servers do not use: not those below 1024, 11211 and Options.Port;
//   - commands. No answer begins like a command, so two servers cannot answer each other;
//   - with at most Options.Growth times the request's bytes, headers included, and each key once. If the
//     values do not fit, the program passes the request on, and a Server sends SERVER_ERROR if that fits.
//     It does not send END, which would tell the client that the keys are absent.
//
// [Accelerator.Follow] and [Server.Serve] receive changes of the interface's addresses by netlink.
//
// # Consistency
//
// An answer holds a value that the key had at some moment while the request was processed: see
// [container.Table].
//
// # Requirements
//
// Linux 6.12, CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
package arenaxdp

//go:generate go tool bpf2go -target bpfel -go-package arenaxdp -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type counts -type address -type source bpf arenaxdp.bpf.c
