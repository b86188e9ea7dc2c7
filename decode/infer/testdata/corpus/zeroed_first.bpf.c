// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is zeroed as a whole before its fields are set.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 flags;
	__u64 value;
	char comm[16];
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->flags = 3;
	e->value = 9;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
