/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENAXDP_ANSWER_H
#define RBTOOL_ARENAXDP_ANSWER_H

#include "work.h"

/* Functions that turn a request's packet into its answer. */

static __always_inline __u8 *put_number(__u8 *at, __u32 n)
{
	if (n >= 100)
		*at++ = '0' + n / 100;
	if (n >= 10)
		*at++ = '0' + n / 10 % 10;
	*at++ = '0' + n % 10;
	return at;
}

/*
 * Writes the text of an answer, padded with zeros for the checksum, and returns its length without
 * padding. It writes from left to right. Keys and values are copied as whole words, and each next part
 * overwrites the excess of the part before.
 */
static __always_inline __u32 write_text(struct work *w, __u32 bytes)
{
	__u8 *text = w->answer + AT_TEXT, *at = w->answer + AT_KEY;
	__u32 len = KEY(w)[0];

	/* The first byte that is copied is the key's length. "VALUE " overwrites it. */
	for (int i = 0; i < KEY_WORDS; i++)
		((__u64 *)(at - 1))[i] = w->key[i];
	__builtin_memcpy(text, "VALUE ", 6);
	len &= 63;
	opaque(len);
	at += len;
	__builtin_memcpy(at, " 0 ", 3);
	at = put_number(at + 3, bytes);
	/* The first two bytes that are copied are the value's length. LINE_END overwrites them. */
	for (int i = 0; i < VALUE_WORDS; i++)
		((__u64 *)at)[i] = w->value[i];
	__builtin_memcpy(at, LINE_END, 2);
	at += 2 + bytes;
	__builtin_memcpy(at, "\r\nEND\r\n\0\0\0", 10);
	return at + 7 - text;
}

/* Turns the request's headers into the answer's. The answer has payload bytes after the UDP header. */
static __always_inline void write_headers(struct request *r, __u32 payload, struct work *w)
{
	struct udp *udp = (struct udp *)(w->answer + AT_UDP);
	__u32 bytes = sizeof(*udp) + payload;
	struct ethernet *eth;
	struct ipv4 *v4;
	struct ipv6 *v6;
	__u32 addr;
	__u64 sum;

	if (r->network == sizeof(*v4)) {
		v4 = (struct ipv4 *)udp - 1;
		eth = (struct ethernet *)v4 - 1;
		v4->service = 0;
		v4->bytes = bpf_htons(sizeof(*v4) + bytes);
		v4->id = 0;
		v4->fragment = bpf_htons(IPV4_DONT_FRAGMENT);
		v4->ttl = HOPS;
		addr = v4->from;
		v4->from = v4->to;
		v4->to = addr;
		v4->checksum = 0;
		v4->checksum = fold(sum_words(v4, sizeof(*v4) / sizeof(__u32)));
	} else {
		v6 = (struct ipv6 *)udp - 1;
		eth = (struct ethernet *)v6 - 1;
		v6->version_class_flow = bpf_htonl(0x60000000);
		v6->bytes = bpf_htons(bytes);
		v6->hops = HOPS;
		for (int i = 0; i < 4; i++) {
			addr = v6->from[i];
			v6->from[i] = v6->to[i];
			v6->to[i] = addr;
		}
	}
	sum = pseudo_sum(r, udp, bytes);
	for (__u32 i = 0; i < sizeof(mac); i++) {
		eth->to[i] = eth->from[i];
		eth->from[i] = mac[i];
	}
	udp->to = udp->from;
	udp->from = port;
	udp->bytes = bpf_htons(bytes);
	udp->checksum = 0;
	bytes += 3;
	opaque(bytes);
	sum += bpf_csum_diff(NULL, 0, (void *)udp, bytes & MAX_ANSWER & ~3, 0);
	udp->checksum = fold(sum) ?: 0xffff;
}

/* Changes the packet's length at its end or, if there is no room, at its front. */
static __always_inline bool resize(struct xdp_md *ctx, __u32 bytes)
{
	int more = bytes - bpf_xdp_get_buff_len(ctx);

	return !bpf_xdp_adjust_tail(ctx, more) || !bpf_xdp_adjust_head(ctx, -more);
}

#endif
