// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A kernel type has the size of the record, by chance.
#include "corpus.h"

struct list_head {
	struct list_head *next;
	struct list_head *prev;
} __attribute__((preserve_access_index));
struct task_struct___list {
	struct list_head tasks;
} __attribute__((preserve_access_index));

struct event {
	__u64 start;
	__u64 end;
};
RING(rb);

static __attribute__((noinline)) int walk(struct task_struct___list *t)
{
	struct list_head *next = NULL;

	bpf_probe_read_kernel(&next, sizeof(next), &t->tasks.next);
	return next != NULL;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	walk(NULL);
	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->start = 5;
	e->end = 6;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
