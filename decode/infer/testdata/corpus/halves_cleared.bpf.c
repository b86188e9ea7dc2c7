// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Two members are cleared at once, and set again in branches that end in the same stores, which have no line.
#include "corpus.h"

struct event {
	__u64 time;
	__u32 pid;
	__u32 kind;
	__u32 size;
	__u32 filled;
	char data[16];
};
RING(rb);
volatile __u32 length = 8;
char source[16] = "sevenxx";

SEC("raw_tp")
int p(void *ctx)
{
	__u32 n = length;
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	long failed;

	if (!e)
		return 0;
	e->time = 7;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->kind = length;
	e->filled = 0;
	e->size = 0;
	n = n > 16 ? 16 : n;
	failed = bpf_probe_read_kernel(e->data, n, source);
	if (!failed) {
		e->filled = 1;
		e->size = n;
	} else {
		e->filled = 0;
		e->size = 0;
	}
	bpf_ringbuf_submit(e, 0);
	return 0;
}
