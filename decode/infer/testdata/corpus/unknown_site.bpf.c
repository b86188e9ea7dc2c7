// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// One site of known type and constant size, one of which nothing is known.
#include "corpus.h"

struct conn {
	__u64 kind;
	__u32 saddr;
	__u32 daddr;
	__u16 sport;
	__u16 dport;
};
HEAP(scratch, char[256]);
RING(rb);
volatile __u64 length = 24;

static __attribute__((noinline)) int fill(struct conn *c)
{
	if (!c)
		return 0;
	c->saddr = 1;
	c->daddr = 2;
	c->sport = 3;
	c->dport = 4;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct conn *c = bpf_ringbuf_reserve(&rb, sizeof(*c), 0);

	if (!c)
		return 0;
	c->kind = 1;
	fill(c);
	bpf_ringbuf_submit(c, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	__u32 zero = 0;
	char *s = bpf_map_lookup_elem(&scratch, &zero);

	if (!s)
		return 0;
	*(__u64 *)s = 2;
	return bpf_ringbuf_output(&rb, s, length & 63, 0);
}
