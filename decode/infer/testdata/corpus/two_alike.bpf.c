// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Two structs of one size, and nothing that tells their records apart.
#include "corpus.h"

struct opened {
	__u32 pid;
	__u32 fd;
	__u64 inode;
};
struct closed {
	__u32 tid;
	__s32 result;
	__u64 nanoseconds;
};
RING(rb);
volatile __u64 source = 5;

static __attribute__((noinline)) int fill_opened(struct opened *e)
{
	if (!e)
		return 0;
	e->pid = source;
	e->fd = source;
	e->inode = source;
	return 0;
}

static __attribute__((noinline)) int fill_closed(struct closed *e)
{
	if (!e)
		return 0;
	e->tid = source;
	e->result = source;
	e->nanoseconds = source;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct opened *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	fill_opened(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct closed *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	fill_closed(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
