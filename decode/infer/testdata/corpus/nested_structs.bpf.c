// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Structs in structs, in no BTF.
#include "corpus.h"

struct endpoint {
	__u32 addr;
	__u16 port;
	__u16 family;
};
struct event {
	__u64 time;
	struct endpoint src;
	struct endpoint dst;
	struct {
		__u32 pid;
		__u32 tid;
	} task;
};
RING(rb);
volatile __u32 source = 9;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = 5;
	e->src.addr = source;
	e->src.port = source;
	e->src.family = 2;
	e->dst.addr = source;
	e->dst.port = source;
	e->dst.family = 10;
	e->task.pid = source;
	e->task.tid = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
