// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The callback of bpf_loop writes the records.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 round;
};
RING(rb);

static long one(__u64 i, void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 1;
	e->pid = 42;
	e->round = i;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	bpf_loop(1, one, NULL, 0);
	return 0;
}
