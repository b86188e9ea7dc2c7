// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A function fills the record; a global function and one that gets it as void *.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 uid;
	__u64 cookie;
};
RING(rb);

static __attribute__((noinline)) int fill(void *record)
{
	struct event *e = record;

	if (!e)
		return 0;
	e->uid = 1000;
	e->cookie = 77;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 42;
	fill(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
