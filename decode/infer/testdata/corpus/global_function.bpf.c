// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A global function takes a pointer to the struct, which the verifier checks by its BTF.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 uid;
	__u64 cookie;
};
RING(rb);

__attribute__((noinline)) int send(struct event *e)
{
	if (!e)
		return 0;
	return bpf_ringbuf_output(&rb, e, sizeof(*e), 0);
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event e = {.pid = 42, .uid = 1000, .cookie = 77};

	return send(&e);
}
