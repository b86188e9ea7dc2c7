// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A header and a text of variable length after it.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 length;
	char text[];
};
HEAP(heap, char[256]);
RING(rb);
volatile __u32 length = 6;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0, n = length & 63;
	struct event *e = bpf_map_lookup_elem(&heap, &zero);

	if (!e)
		return 0;
	e->pid = 42;
	e->length = n;
	__builtin_memcpy(e->text, "hello", 6);
	return bpf_ringbuf_output(&rb, e, sizeof(*e) + n, 0);
}
