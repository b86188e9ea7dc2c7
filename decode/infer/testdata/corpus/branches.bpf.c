// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Two branches reserve into one variable, records of two sizes of one struct.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 length;
	char text[56];
};
const struct event *unused __attribute__((unused));
RING(rb);
volatile __u32 small = 1;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	if (small)
		e = bpf_ringbuf_reserve(&rb, offsetof(struct event, text) + 8, 0);
	else
		e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);
	if (!e)
		return 0;
	e->pid = 42;
	e->length = 8;
	__builtin_memcpy(e->text, "branch!", 8);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
