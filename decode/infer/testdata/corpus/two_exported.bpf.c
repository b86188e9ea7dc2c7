// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Two exported types of one size: the fields that the lines name choose.
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
const struct opened *unused_opened __attribute__((unused));
const struct closed *unused_closed __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct closed *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->tid = 42;
	e->result = -9;
	e->nanoseconds = 1000;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
