// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Some records are discarded after they were written.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 verdict;
};
RING(rb);
volatile __u32 threshold = 1;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 42;
	if (!threshold) {
		bpf_ringbuf_discard(e, 0);
		return 0;
	}
	e->verdict = 1;
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
	return 0;
}
