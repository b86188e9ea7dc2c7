// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The compiler unrolls a loop over an array: many stores have one line.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 count;
	__u64 args[4];
};
RING(rb);
volatile __u64 source = 5;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = source;
	e->count = 4;
	for (int i = 0; i < 4; i++)
		e->args[i] = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
