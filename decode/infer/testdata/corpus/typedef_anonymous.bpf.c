// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A struct that only a typedef names.
#include "corpus.h"

typedef struct {
	__u32 pid;
	__u32 cpu;
	__u64 count;
} event_t;
RING(rb);

static __attribute__((noinline)) int fill(event_t *e)
{
	if (!e)
		return 0;
	e->cpu = 3;
	e->count = 9;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	event_t *e = bpf_ringbuf_reserve(&rb, sizeof(event_t), 0);

	if (!e)
		return 0;
	e->pid = 42;
	fill(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
