// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is built on the stack.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 reason;
	__u64 bytes;
	char comm[16];
};
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct event e = {};

	e.pid = source;
	e.reason = 6;
	e.bytes = 4096;
	bpf_get_current_comm(e.comm, sizeof(e.comm));
	return bpf_ringbuf_output(&rb, &e, sizeof(e), 0);
}
