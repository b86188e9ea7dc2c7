/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENAXDP_WORK_H
#define RBTOOL_ARENAXDP_WORK_H

#include "net.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The program's settings, the layout of messages and the data of the current datagram. */

/* The interface's Ethernet address. The program passes on frames for other addresses. */
extern const volatile __u8 mac[6];

/* The port, in network byte order. */
extern const volatile __u16 port;

/* The header of each request and answer. */
struct frame {
	__be16 id; /* chosen by the client */
	__be16 number; /* of this datagram in its message */
	__be16 count; /* of datagrams in the message */
	__u16 unused;
};

#define KEY_WORDS 8   /* size of a key: one byte with its length, then MAX_KEY bytes */
#define VALUE_WORDS 32 /* size of a value: two bytes with its length, then MAX_VALUE bytes */
#define MAX_KEY 63
#define MAX_VALUE 254

/* Offsets in work.answer, which holds the answer's packet. The IP header ends at AT_UDP. */
#define AT_UDP 64
#define AT_FRAME (AT_UDP + sizeof(struct udp))
#define AT_TEXT (AT_FRAME + sizeof(struct frame))
#define AT_KEY (AT_TEXT + sizeof("VALUE ") - 1)

#define MAX_ANSWER 511 /* maximum bytes from the UDP header on; also used as a mask */

/* The parts of a request and its answer, too large for the stack. */
struct work {
	__u64 key[KEY_WORDS + 1]; /* with room for the end of the line */
	__u64 value[VALUE_WORDS];
	__u8 answer[AT_UDP + MAX_ANSWER + 1];
};

/* What is_ours found about a datagram. */
struct request {
	__u32 network; /* size of the IP header, in bytes */
	__u32 payload; /* number of bytes after the UDP header */
	__be16 from_port;
};

#define GET "get "
#define LINE_END "\r\n"
#define LEAST_PAYLOAD (sizeof(struct frame) + sizeof(GET) - 1 + 1 + sizeof(LINE_END) - 1)

#define KEY(w) ((__u8 *)(w)->key)

/* Hides the range of x from the compiler, which would remove a check of x that the verifier needs. */
#define opaque(x) asm volatile("" : "+r"(x))

/* Sums a constant number of words, for fold. For few words this is cheaper than bpf_csum_diff. */
static __always_inline __u64 sum_words(const void *at, int words)
{
	__u64 sum = 0;

	for (int i = 0; i < words; i++)
		sum += ((const __u32 *)at)[i];
	return sum;
}

/* Returns the sum of UDP's pseudo header. The IP header ends at udp. */
static __always_inline __u64 pseudo_sum(struct request *r, struct udp *udp, __u32 bytes)
{
	__u64 sum = bpf_htonl(IPPROTO_UDP + bytes);

	if (r->network == sizeof(struct ipv4))
		return sum + sum_words(&((struct ipv4 *)udp - 1)->from, 2);
	return sum + sum_words(&((struct ipv6 *)udp - 1)->from, 8);
}

#endif
