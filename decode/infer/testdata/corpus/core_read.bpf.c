// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Fields of the kernel, read into the record by helpers.
#include "corpus.h"

struct event {
	int pid;
	int tgid;
	void *parent;
	__u64 seen;
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	bpf_probe_read_kernel(&e->pid, sizeof(e->pid), &task->tgid);
	bpf_probe_read_kernel(&e->tgid, sizeof(e->tgid), &task->tgid);
	bpf_probe_read_kernel(&e->parent, sizeof(e->parent), NULL);
	e->seen = 5;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
