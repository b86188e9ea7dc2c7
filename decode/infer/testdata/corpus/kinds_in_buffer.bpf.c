// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Records of two kinds and one size are made in a buffer; a function puts the same header in front of both.
#include "corpus.h"

struct header {
	__u16 id;
	__u16 length;
	__u32 cpu;
};
struct opened {
	struct header header;
	__u32 flags;
	__u32 mode;
	__u64 inode;
};
struct closed {
	struct header header;
	__u64 bytes;
	__u32 reads;
	__u32 writes;
};
struct buffer {
	__u8 data[64];
};
HEAP(heap, struct buffer);
RING(rb);
volatile __u32 source = 5;

static __always_inline int push(void *record, __u16 id, __u16 length)
{
	struct header *h = record;

	h->id = id;
	h->length = length;
	h->cpu = source;
	return bpf_ringbuf_output(&rb, record, length, 0);
}

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct buffer *b = bpf_map_lookup_elem(&heap, &zero);
	struct opened *o;

	if (!b)
		return 0;
	o = (void *)b->data;
	o->flags = source;
	o->mode = source;
	o->inode = source;
	push(o, 1, sizeof(*o));
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	__u32 zero = 0;
	struct buffer *b = bpf_map_lookup_elem(&heap, &zero);
	struct closed *c;

	if (!b)
		return 0;
	c = (void *)b->data;
	c->bytes = source;
	c->reads = source;
	c->writes = source;
	push(c, 2, sizeof(*c));
	return 0;
}
