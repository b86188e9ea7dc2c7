// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is a global variable.
#include "corpus.h"

struct totals {
	__u64 reads;
	__u64 writes;
	__u32 errors[2];
};
struct totals totals;
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	totals.reads++;
	totals.writes += 2;
	totals.errors[1] = 7;
	return bpf_ringbuf_output(&rb, &totals, sizeof(totals), 0);
}
