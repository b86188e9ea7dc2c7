// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The line of the call names two structs of this size.
#include "corpus.h"

struct args {
	__u64 address;
	__u32 fd;
	__u32 flags;
};
struct opened {
	__u32 pid;
	__u32 fd;
	__u64 ts;
};
const struct args *unused_args __attribute__((unused));
const struct opened *unused_opened __attribute__((unused));
RING(rb);
volatile __u32 source = 42;

#define TRACE(ARGS, EVENT, body)                                  \
	EVENT *e = bpf_ringbuf_reserve(&rb, sizeof(EVENT), 0);    \
	if (!e)                                                   \
		return 0;                                         \
	ARGS *args = (ARGS *)&copy;                               \
	body;                                                     \
	bpf_ringbuf_submit(e, 0);                                 \
	return 0

SEC("raw_tp")
int p(void *ctx)
{
	struct args copy = {source, 4, 5};

	TRACE(struct args, struct opened, { e->pid = source; e->fd = args->fd; e->ts = 9; });
}
