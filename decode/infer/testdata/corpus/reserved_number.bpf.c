// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is a number, reserved and stored through a pointer.
#include "corpus.h"

RING(rb);
volatile __u64 source = 5;

SEC("raw_tp")
int p(void *ctx)
{
	__u64 *id = bpf_ringbuf_reserve(&rb, sizeof(__u64), 0);

	if (!id)
		return 0;
	*id = source;
	bpf_ringbuf_submit(id, 0);
	return 0;
}
