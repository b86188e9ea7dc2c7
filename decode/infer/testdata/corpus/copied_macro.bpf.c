// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A struct that is filled on the stack by the name of a macro, as s6_addr is, and copied into a record of known type.
#include "corpus.h"

struct address {
	union {
		__u8 bytes[8];
		__u32 words[2];
	} in;
};
#define addr8 in.bytes

struct event {
	__u32 pid;
	__u32 kind;
	struct address from;
};
const struct event *unused __attribute__((unused));
RING(rb);
__u8 source[8] = { 1, 0, 0, 0, 2 };

SEC("raw_tp")
int p(void *ctx)
{
	struct address a = {};
	struct event *e;

	bpf_probe_read_kernel(a.addr8, sizeof(a.addr8), source);
	e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);
	if (!e)
		return 0;
	e->pid = 42;
	e->kind = source[4];
	e->from = a;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
