// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is written through a dynptr.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 cpu;
	__u64 sum;
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event e = {.pid = 42, .cpu = 1, .sum = 99};
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&rb, sizeof(e), 0, &ptr);
	bpf_dynptr_write(&ptr, 0, &e, sizeof(e), 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}
