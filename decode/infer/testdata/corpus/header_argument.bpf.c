// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A function takes a pointer to the header that all records begin with.
#include "corpus.h"

struct header {
	__u32 type;
	__u32 length;
};
struct opened {
	struct header h;
	__u32 pid;
	__u32 flags;
	char path[32];
};
RING(rb);

static __attribute__((noinline)) int start(struct header *h)
{
	if (!h)
		return 0;
	h->type = 1;
	h->length = sizeof(struct opened);
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct opened *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	start(&e->h);
	e->pid = 42;
	e->flags = 2;
	__builtin_memcpy(e->path, "/etc/passwd", 12);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
