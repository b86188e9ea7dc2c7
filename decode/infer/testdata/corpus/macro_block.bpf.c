// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A macro reserves the record and runs a block of assignments, all on the lines of its use.
#include "corpus.h"

#define SUBMIT(type, block)                                             \
	{                                                               \
		type *span = bpf_ringbuf_reserve(&rb, sizeof(type), 0); \
		if (span) {                                             \
			span->parent = source;                          \
			block                                           \
			bpf_ringbuf_submit(span, 0);                    \
		}                                                       \
	}

struct wakeup_span {
	__u64 parent;
	__u64 start;
	__u32 cpu;
	__u32 prio;
};
RING(rb);
volatile __u64 source = 5;

SEC("raw_tp")
int p(void *ctx)
{
	SUBMIT(struct wakeup_span, {
		span->start = source;
		span->cpu = source;
		span->prio = source;
	})
	return 0;
}
