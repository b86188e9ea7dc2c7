// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Several calls reserve the same struct.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 step;
	__u64 value;
};
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = source;
	e->step = 1;
	e->value = 10;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = source;
	e->step = 2;
	e->value = 20;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
