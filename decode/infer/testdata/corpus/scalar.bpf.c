// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is a number.
#include "corpus.h"

RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	__u32 pid = 42;

	return bpf_ringbuf_output(&rb, &pid, sizeof(pid), 0);
}
