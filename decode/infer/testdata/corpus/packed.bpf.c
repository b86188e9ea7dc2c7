// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A packed struct: fields are not aligned.
#include "corpus.h"

struct event {
	__u8 kind;
	__u32 pid;
	__u16 port;
	__u64 time;
} __attribute__((packed));
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->kind = 1;
	e->pid = 42;
	e->port = 443;
	e->time = 5;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
