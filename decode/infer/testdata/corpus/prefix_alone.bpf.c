// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A typed buffer, of which only the used part is sent.
#include "corpus.h"

struct event {
	__u64 time;
	__u32 pid;
	__u32 length;
	char args[1024];
};
HEAP(heap, struct event);
RING(rb);
volatile __u32 length = 6;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct event *e = bpf_map_lookup_elem(&heap, &zero);

	if (!e)
		return 0;
	e->time = 7;
	e->pid = 42;
	e->length = length & 63;
	__builtin_memcpy(e->args, "ls\0-l", 6);
	return bpf_ringbuf_output(&rb, e, offsetof(struct event, args) + e->length, 0);
}
