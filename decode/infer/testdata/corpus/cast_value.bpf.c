// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The line that writes the first member casts what it reads to another struct of this size.
#include "corpus.h"

struct key {
	__u32 pid;
	__u32 fd;
};
struct done {
	__u32 id;
	__u32 bytes;
};
const struct key *unused_key __attribute__((unused));
const struct done *unused_done __attribute__((unused));
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct key key = {source, 4};
	struct done *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->id = ((volatile struct key *)&key)->pid;
	e->bytes = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
