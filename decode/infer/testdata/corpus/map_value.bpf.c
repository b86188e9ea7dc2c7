// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is a map's value.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 hits[3];
	char name[8];
};
HEAP(heap, struct event);
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct event *e = bpf_map_lookup_elem(&heap, &zero);

	if (!e)
		return 0;
	e->pid = 42;
	e->hits[0] = 1;
	e->hits[2] = 3;
	__builtin_memcpy(e->name, "value", 6);
	return bpf_ringbuf_output(&rb, e, sizeof(*e), 0);
}
