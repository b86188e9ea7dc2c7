// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is reserved as void * and a second variable, with the type, points to it.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 code;
	__u64 value;
};
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	void *raw = bpf_ringbuf_reserve(&rb, 16, 0);
	struct event *e;

	if (!raw)
		return 0;
	e = raw;
	e->pid = source;
	e->code = 3;
	e->value = 9;
	bpf_ringbuf_submit(raw, 0);
	return 0;
}
