// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A macro reserves the records, and the programs lie in two sections.
#include "corpus.h"

struct header {
	__u32 kind;
	__u32 pid;
	__u64 when;
};
struct opened {
	struct header header;
	__u64 inode;
};
struct closed {
	struct header header;
	__u64 bytes;
	__u64 calls;
};
RING(rb);
volatile __u64 source = 5;

#define RESERVE(type) ((struct type *)bpf_ringbuf_reserve(&rb, sizeof(struct type), 0))

static __always_inline void begin(struct header *h, __u32 kind)
{
	h->kind = kind;
	h->pid = source;
	h->when = 7;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct opened *o = RESERVE(opened);

	if (!o)
		return 0;
	begin(&o->header, 1);
	o->inode = source;
	bpf_ringbuf_submit(o, 0);
	return 0;
}

SEC("raw_tracepoint")
int q(void *ctx)
{
	struct closed *c = RESERVE(closed);

	if (!c)
		return 0;
	begin(&c->header, 2);
	c->bytes = source;
	c->calls = source;
	bpf_ringbuf_submit(c, 0);
	return 0;
}
