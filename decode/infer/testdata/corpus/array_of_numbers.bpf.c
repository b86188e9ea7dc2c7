// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is an array of numbers.
#include "corpus.h"

RING(rb);
volatile __u64 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	__u64 *words = bpf_ringbuf_reserve(&rb, 3 * sizeof(__u64), 0);

	if (!words)
		return 0;
	words[0] = source;
	words[1] = source + 1;
	words[2] = source + 2;
	bpf_ringbuf_submit(words, 0);
	return 0;
}
