// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A member that ends in padding is assigned as a whole, padding included.
#include "corpus.h"

struct endpoint {
	__u64 hi;
	__u64 lo;
	__u16 port;
} __attribute__((aligned(16)));
struct event {
	__u64 time;
	struct endpoint src;
	struct endpoint dst;
	__u32 fd;
};
const struct event *unused __attribute__((unused));
HEAP(heap, struct endpoint);
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct endpoint *from = bpf_map_lookup_elem(&heap, &zero);
	struct event *e;

	if (!from)
		return 0;
	from->hi = 1;
	from->lo = 2;
	from->port = 443;
	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = 7;
	e->fd = 3;
	e->src = *from;
	e->dst = *from;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
