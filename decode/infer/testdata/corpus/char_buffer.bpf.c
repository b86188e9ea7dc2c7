// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The variable that holds the record is an array of bytes.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 cpu;
	__u64 ts;
};
RING(rb);
char buffer[16];
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = (void *)buffer;

	e->pid = source;
	e->cpu = source;
	e->ts = source;
	return bpf_ringbuf_output(&rb, buffer, sizeof(buffer), 0);
}
