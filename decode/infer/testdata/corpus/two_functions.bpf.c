// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is passed to functions that take pointers to different structs of its size.
#include "corpus.h"

struct key {
	__u32 a;
	__u32 b;
	__u64 c;
};
struct event {
	__u32 pid;
	__u32 cpu;
	__u64 latency;
};
RING(rb);
volatile __u32 source = 42;

static __noinline int hash(const struct key *k) { return (k->a * 31 + k->b) ^ (__u32)k->c; }

static __noinline int fill(struct event *e)
{
	e->pid = source;
	e->cpu = source;
	e->latency = source;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;
	int flags;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	flags = hash((void *)e) & 1 ? 1 : 0;
	fill(e);
	bpf_ringbuf_submit(e, flags);
	return 0;
}
