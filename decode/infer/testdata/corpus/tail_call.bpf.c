// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A program calls another at its end, which writes the record.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 stage;
};
RING(rb);

SEC("raw_tp")
int second(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 42;
	e->stage = 2;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, int(void *));
} stages SEC(".maps") = {.values = {[0] = (void *)&second}};

SEC("raw_tp")
int p(void *ctx)
{
	bpf_tail_call(ctx, &stages, 0);
	return 0;
}
