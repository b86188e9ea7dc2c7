// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// An enum after the time tells two types of one size apart.
#include "corpus.h"

enum kind { KIND_OPEN = 1, KIND_CLOSE = 2 };
struct open_event {
	__u64 time;
	enum kind kind;
	__u32 flags;
};
struct close_event {
	__u64 time;
	enum kind kind;
	__s32 result;
};
RING(rb);

static __attribute__((noinline)) int fill_open(struct open_event *e)
{
	if (!e)
		return 0;
	e->time = 5;
	e->flags = 3;
	return 0;
}

static __attribute__((noinline)) int fill_close(struct close_event *e)
{
	if (!e)
		return 0;
	e->time = 6;
	e->result = -9;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct open_event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->kind = KIND_OPEN;
	fill_open(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct close_event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->kind = KIND_CLOSE;
	fill_close(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
