// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The pointer to the record lies on the stack meanwhile.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 cpu;
	__u64 before;
	__u64 after;
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	SPILL();
	e->pid = 42;
	SPILL();
	e->cpu = 3;
	SPILL();
	e->before = 8;
	SPILL();
	e->after = 9;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
