// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// An object without .BTF.ext: the program has no source lines.
#include "corpus.h"

struct event {
	__u64 start;
	__u32 pid;
	__u32 state;
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->start = 5;
	e->pid = 42;
	e->state = 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
