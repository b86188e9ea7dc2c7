// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// An exported struct with a union in it, into whose members a helper and a store write.
#include "corpus.h"

struct endpoint {
	union {
		__u8 v6[16];
		__u32 v4;
	} addr;
	__u16 port;
	__u16 version;
};
struct event {
	__u64 time;
	struct endpoint peer;
	__u32 pid;
};
const struct event *unused __attribute__((unused));
RING(rb);
volatile __u32 source = 5;
__u8 address[16] = {1, 2};

static __attribute__((always_inline)) void *new_event(__u64 size)
{
	return bpf_ringbuf_reserve(&rb, size, 0);
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = new_event(sizeof(*e));

	if (!e)
		return 0;
	e->time = source;
	if (source == 4)
		e->peer.addr.v4 = source;
	else
		bpf_probe_read_kernel(e->peer.addr.v6, sizeof(e->peer.addr.v6), address);
	e->peer.port = source;
	e->peer.version = 6;
	e->pid = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
