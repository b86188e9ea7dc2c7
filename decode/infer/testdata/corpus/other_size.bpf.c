// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The size is that of another struct: the function that reserves knows only one.
#include "corpus.h"

struct opened {
	__u32 type;
	__u32 pid;
	__u64 a;
};
struct exited {
	__u32 type;
	__u32 tid;
	__u64 b;
};
const struct opened *unused_opened __attribute__((unused));
const struct exited *unused_exited __attribute__((unused));
RING(rb);
volatile __u32 source = 42;

static __always_inline void *get(__u32 type)
{
	struct opened *e = bpf_ringbuf_reserve(&rb, sizeof(struct opened), 0);

	if (e)
		e->type = type;
	return e;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct exited *x = get(2);

	if (!x)
		return 0;
	x->tid = source;
	x->b = source;
	bpf_ringbuf_submit(x, 0);
	return 0;
}
