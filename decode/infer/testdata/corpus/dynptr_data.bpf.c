// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Part of the record is written through a pointer into a dynptr.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 cpu;
	__u64 sum;
};
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct bpf_dynptr ptr;
	struct event *e;

	bpf_ringbuf_reserve_dynptr(&rb, sizeof(*e), 0, &ptr);
	e = bpf_dynptr_data(&ptr, 0, sizeof(*e));
	if (e) {
		e->pid = source;
		e->cpu = 1;
		e->sum = 99;
	}
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}
