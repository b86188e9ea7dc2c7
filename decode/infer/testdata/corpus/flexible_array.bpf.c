// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A struct that ends in an array without a length, reserved with room for four elements.
#include "corpus.h"

struct sample {
	__u32 pid;
	__u32 count;
	__u64 frames[];
};
const struct sample *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct sample *e = bpf_ringbuf_reserve(&rb, sizeof(struct sample) + 4 * sizeof(__u64), 0);

	if (!e)
		return 0;
	e->pid = 42;
	e->count = 4;
	for (int i = 0; i < 4; i++)
		e->frames[i] = 1000 + i;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
