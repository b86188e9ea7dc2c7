// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The compiler merges the stores of small fields into one.
#include "corpus.h"

struct event {
	__u8 version;
	__u8 kind;
	__u16 flags;
	__u32 pid;
	__u64 value;
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->version = 1;
	e->kind = 2;
	e->flags = 3;
	e->pid = 4;
	e->value = 5;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
