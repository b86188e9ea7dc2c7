// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// An inlined function fills a struct in the record, through a pointer of its own.
#include "corpus.h"

struct process {
	__u32 pid;
	__u32 uid;
	char comm[16];
};
struct event {
	__u64 time;
	struct process proc;
};
RING(rb);
volatile __u64 source = 5;

static __attribute__((always_inline)) void describe(struct process *proc)
{
	proc->pid = source;
	proc->uid = source;
	bpf_get_current_comm(proc->comm, sizeof(proc->comm));
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = source;
	describe(&e->proc);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
