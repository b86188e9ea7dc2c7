// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is a part of a map's value, of a length that is not constant.
#include "corpus.h"

struct wire {
	__u32 a;
	__u32 b;
	char text[56];
};
struct scratch {
	__u64 calls;
	__u64 used;
	struct wire w;
};
HEAP(heap, struct scratch);
RING(rb);
volatile __u32 length = 13;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&heap, &zero);

	if (!s)
		return 0;
	s->calls++;
	s->used = 99;
	s->w.a = 0x11111111;
	s->w.b = 0x22222222;
	__builtin_memcpy(s->w.text, "text", 5);
	return bpf_ringbuf_output(&rb, &s->w, length & 63, 0);
}
