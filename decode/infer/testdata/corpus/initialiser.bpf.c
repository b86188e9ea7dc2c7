// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A designated initialiser: all its stores have the line where it begins, and the values the lines of the members.
#include "corpus.h"

struct event {
	__u64 bytes;
	__u32 pid;
	__u16 port;
	__u16 flags;
	char comm[16];
};
RING(rb);
volatile __u64 source = 5ull << 32 | 7;

SEC("raw_tp")
int p(void *ctx)
{
	struct event e = {
		.bytes = source + 1,
		.pid = source >> 32,
		.port = __builtin_bswap16(source),
		.flags = source & 3,
	};

	bpf_get_current_comm(e.comm, sizeof(e.comm));
	bpf_ringbuf_output(&rb, &e, sizeof(e), 0);
	return 0;
}
