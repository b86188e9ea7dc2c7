// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Numbers of a packed struct are stored byte by byte, zeros as well.
#include "corpus.h"

struct event {
	__u64 ts;
	__u32 argc;
	__u32 flags;
	__u8 level;
} __attribute__((packed));
RING(rb);
volatile __u64 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->ts = source;

	e->argc = 0;
	e->flags = 0;

	e->level = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
