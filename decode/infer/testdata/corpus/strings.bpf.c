// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Strings: read by helpers, copied from constants.
#include "corpus.h"

struct event {
	__u32 pid;
	__s32 length;
	char comm[16];
	char path[24];
	char state[8];
};
RING(rb);
char source[24] = "/usr/bin/env";

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 42;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->length = bpf_probe_read_kernel_str(e->path, sizeof(e->path), source);
	__builtin_memcpy(e->state, "running", 8);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
