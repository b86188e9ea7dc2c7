// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Bit fields of an exported struct.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 version : 4;
	__u32 kind : 12;
	__u32 flags : 16;
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
	e->version = 5;
	e->kind = 300;
	e->flags = 7;
	e->bytes = 9;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
