//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Answers requests for values of a KV (arena/kv.go) where packets arrive, from the arena:
 * the process that fills it does not run for them. The protocol is memcached's over
 * UDP, of which it knows this one request, in one datagram:
 *
 *	struct frame, "get KEY\r\n"
 *	struct frame, "VALUE KEY 0 BYTES\r\n", the value, "\r\nEND\r\n"
 *
 * Whatever is not such a request, for an address of this host, from a source that may ask, with
 * a key that is in the table, goes its way up the stack, unchanged.
 */
#include "kernel.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "arena_table.h"
#include "net.h"

/* The interface's. What is for another one is only passing by. */
const volatile __u8 mac[6];

/* The port, in the network's byte order, and the number of the table's root. */
const volatile __u16 port;
const volatile __u32 table_root;

/* An answer's packet has at most this many times the bytes of the request's. */
const volatile __u32 growth;

/* What became of the datagrams to the port at an address of the host. */
struct counts {
	__u64 hits;	 /* answered */
	__u64 misses;	 /* the key is not in the table */
	__u64 others;	 /* no request for one key */
	__u64 malformed; /* lengths that contradict each other, wrong checksums */
	__u64 busy;	 /* the table was changed each time it was read */
	__u64 broken;	 /* the table or the value cannot be right */
	__u64 no_room;	 /* the driver has none for the answer */
	__u64 server_ports; /* from a port of servers */
	__u64 sources;	 /* from an address that may not ask */
	__u64 checksums; /* requests with a wrong UDP checksum */
	__u64 large;	 /* the answer is too large for the request */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters SEC(".maps");

/* An address, an IPv4 one as ::ffff:a.b.c.d. */
struct address {
	__u32 words[4];
};

/* Those that are answered for: what is forwarded to others is not ours to answer. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

/* A network, with addresses as above: the first bits are given. */
struct source {
	__u32 bits;
	__u8 address[16];
};

/*
 * The networks that may ask have the value 1. Addresses among them that may not, as this host's own,
 * have 0: the longest match counts.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct source);
	__type(value, __u8);
} sources SEC(".maps");

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

/*
 * An answer is put together here. Where the network's header begins follows from
 * its length; the rest has its fixed place.
 */
#define AT_UDP 64
#define AT_FRAME (AT_UDP + sizeof(struct udp))
#define AT_TEXT (AT_FRAME + sizeof(struct frame))
#define AT_KEY (AT_TEXT + sizeof("VALUE ") - 1)

#define MAX_ANSWER 511 /* from the UDP header on; a mask */

/* What a packet is being made of. */
struct work {
	__u64 key[KEY_WORDS + 1]; /* the end of the line is read with it */
	__u64 value[VALUE_WORDS];
	__u8 answer[AT_UDP + MAX_ANSWER + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} work SEC(".maps");

/* What is known of a datagram. */
struct request {
	__u32 network; /* bytes of the network's header */
	__u32 payload; /* bytes after the UDP header */
	__be16 from_port;
};

#define MEMCACHED_PORT 11211
#define FIRST_USER_PORT 1024

#define GET "get "
#define LINE_END "\r\n"
#define LEAST_PAYLOAD (sizeof(struct frame) + sizeof(GET) - 1 + 1 + sizeof(LINE_END) - 1)

#define KEY(w) ((__u8 *)(w)->key)

/* Makes the compiler forget what it knows of a number, so that a check of its range stays. */
#define opaque(x) asm volatile("" : "+r"(x))

/* The sum of a constant number of words, for fold: cheaper than a helper for so few. */
static __always_inline __u64 sum_words(const void *at, int words)
{
	__u64 sum = 0;

	for (int i = 0; i < words; i++)
		sum += ((const __u32 *)at)[i];
	return sum;
}

/*
 * Whether the packet is a datagram to the port at an address of the host: 1, 0, or
 * -1 when it is, and malformed.
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
	for (int i = 0; i < sizeof(mac); i++)
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
		/* Not from 0.0.0.0/8, 127.0.0.0/8, multicast or broadcast. */
		good = v4->from & bpf_htonl(0xff000000) && (v4->from & bpf_htonl(0xff000000)) != bpf_htonl(0x7f000000) &&
		       (v4->from & bpf_htonl(0xe0000000)) != bpf_htonl(0xe0000000);
	} else if (eth->protocol == bpf_htons(ETH_P_IPV6)) {
		v6 = (void *)(eth + 1);
		udp = (void *)(v6 + 1);
		if ((void *)(udp + 1) > end || v6->next != IPPROTO_UDP)
			return 0;
		r->network = sizeof(*v6);
		__builtin_memcpy(&to, v6->to, sizeof(to));
		__builtin_memcpy(from->address, v6->from, sizeof(v6->from));
		bytes = bpf_ntohs(v6->bytes);
		/*
		 * Not from ::/64, which has loopback, the unspecified address and IPv4-mapped ones, or
		 * multicast.
		 */
		good = (v6->version_class_flow & bpf_htonl(0xf0000000)) == bpf_htonl(0x60000000) &&
		       (v6->from[0] | v6->from[1]) &&
		       (v6->from[0] & bpf_htonl(0xff000000)) != bpf_htonl(0xff000000) && udp->checksum;
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
 * Whether servers use a port: this one, memcached's, and those that take privileges on Linux. What
 * is sent to a server may be answered, and its answer too.
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
 * Finds the key of a request for one, with the end of the line behind it. The answer's headers are
 * then those of the request.
 */
static __always_inline bool read_request(struct xdp_md *ctx, struct request *r, struct work *w)
{
	__u32 head = sizeof(struct ethernet) + r->network, len = r->payload - LEAST_PAYLOAD + 1;
	struct frame *frame = (struct frame *)(w->answer + AT_FRAME);
	__u8 *text = w->answer + AT_TEXT;

	if (len - 1 >= MAX_KEY)
		return false;
	/* From the end of the headers on, which is fixed. */
	if (bpf_xdp_load_bytes(ctx, 0, w->answer + AT_UDP - head, head) ||
	    bpf_xdp_load_bytes(ctx, head, w->answer + AT_UDP, AT_TEXT - AT_UDP + sizeof(GET) - 1))
		return false;
	if (frame->number || frame->count != bpf_htons(1) || text[0] != 'g' || text[1] != 'e' || text[2] != 't' ||
	    text[3] != ' ')
		return false;
	/* The blank before it makes room for the length; after it are zeros. */
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

/* The sum of what UDP's checksum has of the network's header, in front of a UDP header. */
static __always_inline __u64 pseudo_sum(struct request *r, struct udp *udp, __u32 bytes)
{
	__u64 sum = bpf_htonl(IPPROTO_UDP + bytes);

	if (r->network == sizeof(struct ipv4))
		return sum + sum_words(&((struct ipv4 *)udp - 1)->from, 2);
	return sum + sum_words(&((struct ipv6 *)udp - 1)->from, 8);
}

/*
 * Whether a request has the UDP checksum of its bytes, or none: 0 with IPv4, or, between virtual
 * devices, only the sum of the pseudo header, which a sender leaves for the device to
 * complete (CHECKSUM_PARTIAL, include/linux/skbuff.h).
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

/* Puts zeros where the end of the line was: a key of the table is filled up with them. */
static __always_inline void end_key(struct work *w)
{
	__u32 len = KEY(w)[0];

	len &= 63;
	opaque(len);
	KEY(w)[1 + len] = 0;
	KEY(w)[2 + len] = 0;
}

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
 * Writes the text of an answer, and zeros after it to fill up a word of the checksum, from left
 * to right: keys and values are copied as whole words, and what is too much is
 * written over by what follows. Returns the length of the text.
 */
static __always_inline __u32 write_text(struct work *w, __u32 bytes)
{
	__u8 *text = w->answer + AT_TEXT, *at = w->answer + AT_KEY;
	__u32 len = KEY(w)[0];

	/* Before the key is its length, where the blank will be. */
	for (int i = 0; i < KEY_WORDS; i++)
		((__u64 *)(at - 1))[i] = w->key[i];
	__builtin_memcpy(text, "VALUE ", 6);
	len &= 63;
	opaque(len);
	at += len;
	__builtin_memcpy(at, " 0 ", 3);
	at = put_number(at + 3, bytes);
	/* Before the value is its length, where the end of the line will be. */
	for (int i = 0; i < VALUE_WORDS; i++)
		((__u64 *)at)[i] = w->value[i];
	__builtin_memcpy(at, LINE_END, 2);
	at += 2 + bytes;
	__builtin_memcpy(at, "\r\nEND\r\n\0\0\0", 10);
	return at + 7 - text;
}

/* Turns the headers of the request into those of the answer, of so many bytes after UDP's. */
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
	for (int i = 0; i < sizeof(mac); i++) {
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

/* Gives the packet another length: at its end, or where the driver has no room there, before it. */
static __always_inline bool resize(struct xdp_md *ctx, __u32 bytes)
{
	int more = bytes - bpf_xdp_get_buff_len(ctx);

	return !bpf_xdp_adjust_tail(ctx, more) || !bpf_xdp_adjust_head(ctx, -more);
}

/* How often to read what is changed meanwhile, where nothing else can be done on this CPU. */
#define TRIES 16

static __always_inline int get(const __u64 *key, __u64 *value)
{
	struct arena_table __arena *t = arena_table_open(table_root, KEY_WORDS, VALUE_WORDS);
	int err = -ARENA_EAGAIN;

	if (!t)
		return -ARENA_EINVAL;
	for (int i = 0; i < TRIES && err == -ARENA_EAGAIN; i++)
		err = arena_table_try_get(t, key, KEY_WORDS, value, VALUE_WORDS);
	return err;
}

/* Answers a request that may be answered, from the table. */
static __always_inline int answer(struct xdp_md *ctx, struct request *r, struct work *w, struct counts *c)
{
	__u32 bytes, first;
	int err;

	err = get(w->key, w->value);
	if (err) {
		if (err == -ARENA_ENOENT)
			c->misses++;
		else if (err == -ARENA_EAGAIN)
			c->busy++;
		else
			c->broken++;
		return XDP_PASS;
	}
	bytes = w->value[0] & 0xffff;
	opaque(bytes);
	if (bytes > MAX_VALUE) {
		c->broken++;
		return XDP_PASS;
	}
	bytes = write_text(w, bytes) + sizeof(struct frame);
	if (r->network + sizeof(struct udp) + bytes > growth * (r->network + sizeof(struct udp) + r->payload)) {
		c->large++;
		return XDP_PASS;
	}
	write_headers(r, bytes, w);
	first = AT_UDP - r->network - sizeof(struct ethernet);
	bytes += AT_FRAME - first;
	if (!resize(ctx, bytes)) {
		c->no_room++;
		return XDP_PASS;
	}
	bytes &= MAX_ANSWER;
	opaque(bytes);
	if (!bytes || bytes > MAX_ANSWER || bpf_xdp_store_bytes(ctx, 0, w->answer + first, bytes))
		return XDP_ABORTED; /* never: it has that length */
	c->hits++;
	return XDP_TX;
}

SEC("xdp")
int kv_get(struct xdp_md *ctx)
{
	struct source from = {}; /* on the stack, where the verifier would lose track of r */
	struct request r = {};
	struct counts *c;
	struct work *w;
	__u32 zero = 0;
	int ours;

	arena_use();
	ours = is_ours(ctx, &r, &from);
	if (!ours)
		return XDP_PASS;
	c = bpf_map_lookup_elem(&counters, &zero);
	w = bpf_map_lookup_elem(&work, &zero);
	if (!c || !w)
		return XDP_PASS;
	if (ours < 0)
		c->malformed++;
	else if (is_server_port(r.from_port))
		c->server_ports++;
	else if (!may_ask(&from))
		c->sources++;
	else if (!read_request(ctx, &r, w))
		c->others++;
	else if (!is_intact(&r, w))
		c->checksums++;
	else {
		end_key(w);
		return answer(ctx, &r, w, c);
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
