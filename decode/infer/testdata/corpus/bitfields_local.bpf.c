// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The bitfields of a struct that is in no BTF: each line names one, the stores have several.
#include "corpus.h"

struct event {
	__u32 pid;
	__u16 id;
	__u8 syn : 1, ack : 1, window : 6;
	__u8 ttl;
	__u32 low : 12, high : 20;
	__u64 bytes;
};
RING(rb);
volatile __u32 source = 5;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->pid = source;
	e->id = source;
	e->syn = source;
	e->ack = source;
	e->window = source;
	e->ttl = source;
	e->low = source;
	e->high = 9;
	e->bytes = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = source;
	e->ack = 1;
	e->window = source;
	e->bytes = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
