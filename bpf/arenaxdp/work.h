/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENAXDP_WORK_H
#define RBTOOL_ARENAXDP_WORK_H

#include "net.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The datagram in hand: the program's settings, the layout of a message, and UDP's checksum. */

/* The interface's address. Frames for other addresses only pass by. */
extern const volatile __u8 mac[6];

/* The port, in network byte order. */
extern const volatile __u16 port;

/* Before each request and answer. */
struct frame {
	__be16 id; /* the client's */
	__be16 number;
	__be16 count; /* of the datagrams of a message */
	__u16 unused;
};

#define KEY_WORDS 8   /* a byte with its length, then the key */
#define VALUE_WORDS 32 /* two bytes with its length, then the value */
#define MAX_KEY 63
#define MAX_VALUE 254

/* Offsets in work.answer, where a packet is put together. The IP header ends at AT_UDP. */
#define AT_UDP 64
#define AT_FRAME (AT_UDP + sizeof(struct udp))
#define AT_TEXT (AT_FRAME + sizeof(struct frame))
#define AT_KEY (AT_TEXT + sizeof("VALUE ") - 1)

#define MAX_ANSWER 511 /* from the UDP header on; a mask */

/* The parts of a request and its answer. */
struct work {
	__u64 key[KEY_WORDS + 1]; /* the end of the line is read with it */
	__u64 value[VALUE_WORDS];
	__u8 answer[AT_UDP + MAX_ANSWER + 1];
};

/* A datagram to the port. */
struct request {
	__u32 network; /* bytes of the network's header */
	__u32 payload; /* bytes after the UDP header */
	__be16 from_port;
};

#define GET "get "
#define LINE_END "\r\n"
#define LEAST_PAYLOAD (sizeof(struct frame) + sizeof(GET) - 1 + 1 + sizeof(LINE_END) - 1)

#define KEY(w) ((__u8 *)(w)->key)

/* Hides a number's range from the compiler, so that it keeps the check that the verifier needs. */
#define opaque(x) asm volatile("" : "+r"(x))

/* Sums a constant number of words for fold: cheaper than bpf_csum_diff for so few. */
static __always_inline __u64 sum_words(const void *at, int words)
{
	__u64 sum = 0;

	for (int i = 0; i < words; i++)
		sum += ((const __u32 *)at)[i];
	return sum;
}

/* The sum of UDP's pseudo header; the IP header lies in front of udp. */
static __always_inline __u64 pseudo_sum(struct request *r, struct udp *udp, __u32 bytes)
{
	__u64 sum = bpf_htonl(IPPROTO_UDP + bytes);

	if (r->network == sizeof(struct ipv4))
		return sum + sum_words(&((struct ipv4 *)udp - 1)->from, 2);
	return sum + sum_words(&((struct ipv6 *)udp - 1)->from, 8);
}

#endif
