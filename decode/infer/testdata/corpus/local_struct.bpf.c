// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The commonest program: a struct used only inside the function, its size by sizeof(*e).
#include "corpus.h"

struct event {
	int pid;
	int ppid;
	unsigned int code;
	unsigned long long ns;
	char comm[16];
	bool exiting;
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->ppid = 77;
	e->code = 3;
	e->ns = 123456789;
	bpf_get_current_comm(&e->comm, sizeof(e->comm));
	e->exiting = true;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
