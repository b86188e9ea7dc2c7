// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is an array in a map's value.
#include "corpus.h"

struct state {
	__u64 calls;
	__u32 counts[4];
	__u64 last;
};
HEAP(heap, struct state);
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct state *s = bpf_map_lookup_elem(&heap, &zero);

	if (!s)
		return 0;
	s->calls++;
	s->counts[0] = source;
	s->counts[3] = source + 1;
	return bpf_ringbuf_output(&rb, s->counts, sizeof(s->counts), 0);
}
