// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The compiler makes one call of two that reserve records of different types but one size.
#include "corpus.h"

struct first {
	__u32 kind;
	__u32 code;
	__u64 bytes;
};
struct second {
	__u32 kind;
	__u16 low;
	__u16 high;
	__u64 calls;
};
RING(rb);
volatile __u32 source = 5;

SEC("raw_tp")
int p(void *ctx)
{
	if (source & 1) {
		struct first *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

		if (!e)
			return 0;
		e->kind = 1;
		e->code = source;
		e->bytes = source;
		bpf_ringbuf_submit(e, 0);
	} else {
		struct second *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

		if (!e)
			return 0;
		e->kind = 2;
		e->low = source;
		e->high = source;
		e->calls = source;
		bpf_ringbuf_submit(e, 0);
	}
	return 0;
}
