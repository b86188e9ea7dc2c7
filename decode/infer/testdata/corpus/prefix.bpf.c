// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Two typed buffers, of which only the used part is sent.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 length;
	char args[1024];
};
struct other {
	__u32 pid;
	__u32 count;
	__u64 ids[600];
};
HEAP(heap, struct event);
HEAP(heap2, struct other);
RING(rb);
volatile __u32 length = 6;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct event *e = bpf_map_lookup_elem(&heap, &zero);

	if (!e)
		return 0;
	e->pid = 42;
	e->length = length & 63;
	__builtin_memcpy(e->args, "hello", 6);
	return bpf_ringbuf_output(&rb, e, offsetof(struct event, args) + e->length, 0);
}

SEC("raw_tp")
int q(void *ctx)
{
	__u32 zero = 0;
	struct other *e = bpf_map_lookup_elem(&heap2, &zero);

	if (!e)
		return 0;
	e->pid = 43;
	e->count = (length & 3);
	e->ids[0] = 7;
	e->ids[1] = 8;
	return bpf_ringbuf_output(&rb, e, 8 + 8 * e->count, 0);
}
