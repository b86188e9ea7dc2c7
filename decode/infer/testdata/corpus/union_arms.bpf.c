// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A struct in no BTF, with a union after a kind: each program fills another member of the union.
#include "corpus.h"

enum { KIND_ALLOC = 1, KIND_COPY = 2 };
struct event {
	__u32 kind;
	__u32 pid;
	union {
		struct {
			__u64 size;
			__u64 addr;
		} alloc;
		struct {
			__u32 from;
			__u32 to;
			__u64 bytes;
		} copy;
	};
};
RING(rb);
volatile __u64 source = 5;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->kind = KIND_ALLOC;
	e->pid = source;
	e->alloc.size = source;
	e->alloc.addr = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->kind = KIND_COPY;
	e->pid = source;
	e->copy.from = source;
	e->copy.to = source;
	e->copy.bytes = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
