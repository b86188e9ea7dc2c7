// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Another object writes into this ring. Both call their record struct event, of 16 bytes.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 uid;
	__u64 time;
};
RING(rb);

static __attribute__((noinline)) int fill(struct event *e)
{
	if (!e)
		return 0;
	e->pid = 42;
	e->uid = 1000;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->time = 5;
	fill(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
