// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The exported type is the only one of the size; the line of the call does not name it.
#include "corpus.h"

struct event {
	__u64 start;
	__u64 end;
	__u32 kind;
	__u32 count;
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->start = 1;
	e->end = 2;
	e->kind = 3;
	e->count = 4;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
