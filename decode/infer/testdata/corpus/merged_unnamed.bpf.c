// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The compiler merges the stores of two constants into one, whose line names one of the fields. No BTF has them.
#include "corpus.h"

struct event {
	__u32 kind;
	__u32 flags;
	__u64 value;
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->kind = 3;
	e->flags = 7;
	e->value = 9;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
