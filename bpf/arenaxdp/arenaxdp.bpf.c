//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Answers requests for values of a KV (arena/container/kv.go) in an arena when packets arrive, without the
 * process that fills the KV. The protocol is memcached's over UDP, with only this request, in one
 * datagram:
 *
 *	struct frame, "get KEY\r\n"
 *	struct frame, "VALUE KEY 0 BYTES\r\n", the value, "\r\nEND\r\n"
 *
 * The program passes every other packet to the network stack unchanged, including requests to another
 * host, from a source that is not allowed, or for an absent key.
 */
#include "arena_table.h"
#include "answer.h"
#include "request.h"
#include "work.h"

ARENA_DEFINE();

struct address_map addresses SEC(".maps");
struct source_map sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} work SEC(".maps");

const volatile __u8 mac[6];
const volatile __u16 port;

/* The number of the table's root in the heap. */
const volatile __u32 table_root;

/* The maximum size of an answer is growth times the size of its request, both with IP and UDP headers. */
const volatile __u32 growth;

/* Numbers of datagrams to the port of one of the addresses, by outcome. */
struct counts {
	__u64 hits;	 /* answered */
	__u64 misses;	 /* the key is not in the table */
	__u64 others;	 /* the datagram is not a request for one key */
	__u64 malformed; /* impossible lengths or addresses, or a wrong IP checksum */
	__u64 busy;	 /* the bucket changed during every attempt to read it */
	__u64 broken;	 /* the table or the value is corrupt */
	__u64 no_room;	 /* the driver has no room for the answer */
	__u64 server_ports; /* the source port is one that servers use */
	__u64 sources;	 /* the source address is not allowed */
	__u64 checksums; /* the request's UDP checksum is wrong */
	__u64 large;	 /* the answer is too large for the request */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters SEC(".maps");

/* Number of attempts to read a bucket that others change meanwhile. */
#define TRIES 16

static __always_inline int get(const __u64 *key, __u64 *value)
{
	struct arena_table __arena *t = arena_table_open(table_root, KEY_WORDS, VALUE_WORDS);
	int err = -EAGAIN;

	if (!t)
		return -EINVAL;
	for (int i = 0; i < TRIES && err == -EAGAIN; i++)
		err = arena_table_try_get(t, key, KEY_WORDS, value, VALUE_WORDS);
	return err;
}

/* Answers an allowed request with the value in the table. */
static __always_inline int answer(struct xdp_md *ctx, struct request *r, struct work *w, struct counts *c)
{
	__u32 bytes, first;
	int err;

	err = get(w->key, w->value);
	if (err) {
		if (err == -ENOENT)
			c->misses++;
		else if (err == -EAGAIN)
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
		return XDP_ABORTED; /* cannot happen: resize has set this length */
	c->hits++;
	return XDP_TX;
}

SEC("xdp")
int kv_get(struct xdp_md *ctx)
{
	struct source from = {}; /* not part of r, of which the verifier would lose track */
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
