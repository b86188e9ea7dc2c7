// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The other object of two_objects.
#include "corpus.h"

struct event {
	__u64 time;
	__u16 port;
	__u16 flags;
	__u32 pid;
};
RING(rb);

static __attribute__((noinline)) int fill_other(struct event *e)
{
	if (!e)
		return 0;
	e->pid = 42;
	e->port = 443;
	e->flags = 1;
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->time = 5;
	fill_other(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
