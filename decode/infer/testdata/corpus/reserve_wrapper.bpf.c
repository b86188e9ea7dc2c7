// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A function reserves records for others: the call's line knows neither struct nor size.
#include "corpus.h"

struct opened {
	__u32 pid;
	__u32 fd;
	__u64 inode;
};
struct renamed {
	__u32 pid;
	char to[20];
};
RING(rb);
volatile __u32 source = 42;

static __attribute__((always_inline)) void *new_record(__u64 size)
{
	return bpf_ringbuf_reserve(&rb, size, 0);
}

SEC("raw_tp")
int p(void *ctx)
{
	struct opened *e = new_record(sizeof(*e));

	if (!e)
		return 0;
	e->pid = source;
	e->fd = 5;
	e->inode = 99;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct renamed *r = new_record(sizeof(*r));

	if (!r)
		return 0;
	r->pid = 43;
	__builtin_memcpy(r->to, "/tmp/elsewhere", 15);
	bpf_ringbuf_submit(r, 0);
	return 0;
}
