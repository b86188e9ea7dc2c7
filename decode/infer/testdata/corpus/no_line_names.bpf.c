// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// An object without .BTF.ext, and a struct that is used only in the function: helpers tell what some members are.
#include "corpus.h"

struct event {
	__u32 kind;
	__u32 user;
	char task[16];
	__u8 state;
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->kind = 5;
	e->user = bpf_get_current_uid_gid();
	bpf_get_current_comm(e->task, sizeof(e->task));
	e->state = 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
