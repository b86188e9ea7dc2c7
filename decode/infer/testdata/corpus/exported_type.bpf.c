// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A variable exports the type, so that bpf2go makes a Go type of it; the call's line names it.
#include "corpus.h"

struct event {
	__u32 pid;
	__u16 port;
	__u16 flags;
	__u64 bytes;
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->pid = 42;
	e->port = 443;
	e->flags = 5;
	e->bytes = 1500;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
