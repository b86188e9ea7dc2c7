/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENAXDP_REQUEST_H
#define RBTOOL_ARENAXDP_REQUEST_H

#include "work.h"

/* The rules for requests and their sources. reach.go and request.go have the same rules. */

/* An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d. */
struct address {
	__u32 words[4];
};

/* The destination addresses of requests to answer. Requests to other addresses are passed on. */
struct address_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct address);
	__type(value, __u8);
};

extern struct address_map addresses SEC(".maps");

/* The key of source_map: a network, given by the first bits of an address in the form of struct address. */
struct source {
	__u32 bits;
	__u8 address[16];
};

/*
 * The value is 1 for allowed networks, and 0 for refused addresses in them, such as this host's own. The
 * longest match decides.
 */
struct source_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct source);
	__type(value, __u8);
};

extern struct source_map sources SEC(".maps");

#define MEMCACHED_PORT 11211
#define FIRST_USER_PORT 1024

/* Whether an address is not in 0.0.0.0/8 or 127.0.0.0/8, and neither multicast nor broadcast. */
static __always_inline bool is_host4(__be32 from)
{
	return from & bpf_htonl(0xff000000) && (from & bpf_htonl(0xff000000)) != bpf_htonl(0x7f000000) &&
	       (from & bpf_htonl(0xe0000000)) != bpf_htonl(0xe0000000);
}

/* Whether an address is not in ::/64 (unspecified, loopback and IPv4-mapped addresses) and not multicast. */
static __always_inline bool is_host6(const __be32 *from)
{
	return (from[0] | from[1]) && (from[0] & bpf_htonl(0xff000000)) != bpf_htonl(0xff000000);
}

/*
 * Returns 1 for a datagram to the port of one of the addresses, -1 if such a datagram is malformed, and
 * 0 for any other packet. Sets r and from for a datagram.
 */
static __always_inline int is_ours(struct xdp_md *ctx, struct request *r, struct source *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethernet *eth = data;
	struct address to = {};
	struct ipv4 *v4;
	struct ipv6 *v6;
	struct udp *udp;
	__u32 bytes;
	bool good;

	if ((void *)(eth + 1) > end)
		return 0;
	for (__u32 i = 0; i < sizeof(mac); i++)
		if (eth->to[i] != mac[i])
			return 0;
	if (eth->protocol == bpf_htons(ETH_P_IP)) {
		v4 = (void *)(eth + 1);
		udp = (void *)(v4 + 1);
		if ((void *)(udp + 1) > end || v4->version_length != 0x45 || v4->protocol != IPPROTO_UDP ||
		    v4->fragment & bpf_htons(IPV4_FRAGMENT))
			return 0;
		r->network = sizeof(*v4);
		to.words[2] = bpf_htonl(0xffff);
		to.words[3] = v4->to;
		from->address[10] = from->address[11] = 0xff;
		__builtin_memcpy(from->address + 12, &v4->from, sizeof(v4->from));
		bytes = bpf_ntohs(v4->bytes) - sizeof(*v4);
		good = is_host4(v4->from);
	} else if (eth->protocol == bpf_htons(ETH_P_IPV6)) {
		v6 = (void *)(eth + 1);
		udp = (void *)(v6 + 1);
		if ((void *)(udp + 1) > end || v6->next != IPPROTO_UDP)
			return 0;
		r->network = sizeof(*v6);
		__builtin_memcpy(&to, v6->to, sizeof(to));
		__builtin_memcpy(from->address, v6->from, sizeof(v6->from));
		bytes = bpf_ntohs(v6->bytes);
		good = (v6->version_class_flow & bpf_htonl(0xf0000000)) == bpf_htonl(0x60000000) &&
		       is_host6(v6->from) && udp->checksum;
	} else {
		return 0;
	}
	if (udp->to != port || !bpf_map_lookup_elem(&addresses, &to))
		return 0;
	if (r->network == sizeof(*v4))
		good = good && !fold(sum_words(eth + 1, sizeof(*v4) / sizeof(__u32)));
	if (!good || !udp->from || eth->from[0] & 1 || bytes != bpf_ntohs(udp->bytes) || bytes < sizeof(*udp) ||
	    bytes > bpf_xdp_get_buff_len(ctx) - sizeof(*eth) - r->network)
		return -1;
	r->payload = bytes - sizeof(*udp);
	r->from_port = udp->from;
	from->bits = 8 * sizeof(from->address);
	return 1;
}

/*
 * Whether servers use a port: the program's port, memcached's, or a privileged port. A server might
 * answer an answer, and the program the server, without end.
 */
static __always_inline bool is_server_port(__be16 from)
{
	return from == port || from == bpf_htons(MEMCACHED_PORT) || bpf_ntohs(from) < FIRST_USER_PORT;
}

static __always_inline bool may_ask(const struct source *from)
{
	const __u8 *may = bpf_map_lookup_elem(&sources, from);

	return may && *may;
}

/*
 * Reads a request for one key. w->key gets the key and the end of the line behind it, and w->answer the
 * request's headers, which write_headers turns into the answer's. Returns false for any other datagram.
 */
static __always_inline bool read_request(struct xdp_md *ctx, struct request *r, struct work *w)
{
	__u32 head = sizeof(struct ethernet) + r->network, len = r->payload - LEAST_PAYLOAD + 1;
	struct frame *frame = (struct frame *)(w->answer + AT_FRAME);
	__u8 *text = w->answer + AT_TEXT;

	if (len - 1 >= MAX_KEY)
		return false;
	/* Copy the headers so that they end at AT_UDP, and the frame and "get " after them. */
	if (bpf_xdp_load_bytes(ctx, 0, w->answer + AT_UDP - head, head) ||
	    bpf_xdp_load_bytes(ctx, head, w->answer + AT_UDP, AT_TEXT - AT_UDP + sizeof(GET) - 1))
		return false;
	if (frame->number || frame->count != bpf_htons(1) || text[0] != 'g' || text[1] != 'e' || text[2] != 't' ||
	    text[3] != ' ')
		return false;
	/* Copy the blank before the key too: it makes room for the length. The rest stays zeros. */
	__builtin_memset(w->key, 0, sizeof(w->key));
	head += AT_TEXT - AT_UDP + sizeof(GET) - 2;
	len &= 63;
	opaque(len);
	if (!len || len > MAX_KEY || bpf_xdp_load_bytes(ctx, head, KEY(w), 1 + len + sizeof(LINE_END) - 1))
		return false;
	if (KEY(w)[1 + len] != '\r' || KEY(w)[2 + len] != '\n')
		return false;
	KEY(w)[0] = len;
	for (__u32 i = 1; i <= MAX_KEY && i <= len; i++)
		if (KEY(w)[i] <= ' ' || KEY(w)[i] == 0x7f)
			return false;
	return true;
}

/*
 * Whether a request's UDP checksum is right or absent. It is absent if the field is 0 (with IPv4 only),
 * or if it holds only the sum of the pseudo header: between virtual devices, no device completes the
 * checksum (CHECKSUM_PARTIAL, include/linux/skbuff.h).
 */
static __always_inline bool is_intact(struct request *r, struct work *w)
{
	struct udp *udp = (struct udp *)(w->answer + AT_UDP);
	__u32 line = KEY(w)[0] + sizeof(LINE_END) - 1;
	__u64 sum;

	if (!udp->checksum)
		return true;
	sum = pseudo_sum(r, udp, sizeof(*udp) + r->payload);
	if (udp->checksum == (__u16)~fold(sum))
		return true;
	line += 3;
	opaque(line);
	sum += sum_words(udp, (AT_TEXT - AT_UDP + sizeof(GET) - 1) / sizeof(__u32));
	sum += bpf_csum_diff(NULL, 0, (void *)(KEY(w) + 1), line & 0x7c, 0);
	return !fold(sum);
}

/* Clears the end of the line behind the key, since the table pads its keys with zeros. */
static __always_inline void end_key(struct work *w)
{
	__u32 len = KEY(w)[0];

	len &= 63;
	opaque(len);
	KEY(w)[1 + len] = 0;
	KEY(w)[2 + len] = 0;
}

#endif
