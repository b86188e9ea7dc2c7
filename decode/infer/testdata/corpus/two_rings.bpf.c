// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Two rings, whose types have one size.
#include "corpus.h"

struct opened {
	__u32 pid;
	__u32 fd;
};
struct closed {
	__u32 tid;
	__s32 result;
};
RING(rb);
RING(other);

SEC("raw_tp")
int p(void *ctx)
{
	struct opened *e;
	struct closed *c;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 42;
	e->fd = 3;
	bpf_ringbuf_submit(e, 0);
	c = bpf_ringbuf_reserve(&other, sizeof(*c), 0);
	if (!c)
		return 0;
	c->tid = 43;
	c->result = -9;
	bpf_ringbuf_submit(c, 0);
	return 0;
}
