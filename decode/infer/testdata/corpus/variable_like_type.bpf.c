// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The variable has the name of another struct of this size.
#include "corpus.h"

struct event {
	__u64 when;
	__u32 fd;
	__u32 flags;
};
const struct event *unused_event __attribute__((unused));
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct {
		__u32 pid;
		__u32 cpu;
		__u64 ts;
	} event = {};

	event.pid = source;
	event.cpu = source;
	event.ts = source;
	return bpf_ringbuf_output(&rb, &event, sizeof(event), 0);
}
