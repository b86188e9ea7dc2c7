// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The compiler joins the stores of both branches to one without a line.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 size;
	__u64 bytes;
};
RING(rb);
__u32 sizes[4] = { 7, 8, 9, 10 };
volatile __u32 choice = 2;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;
	__u32 n = choice;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 42;
	e->bytes = choice;
	if (n < 4) {
		e->size = sizes[n];
	} else {
		e->size = 0;
	}
	bpf_ringbuf_submit(e, 0);
	return 0;
}
