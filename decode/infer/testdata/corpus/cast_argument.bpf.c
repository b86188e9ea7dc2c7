// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The function that sends the record takes a pointer to another struct: the caller casts.
#include "corpus.h"

struct message {
	__u64 a;
	__u64 b;
};
struct event {
	__u32 pid;
	__u32 cpu;
	__u64 ts;
};
const struct event *unused_event __attribute__((unused));
RING(rb);
volatile __u32 source = 42;

__noinline int send(struct message *m)
{
	return m ? bpf_ringbuf_output(&rb, m, sizeof(*m), 0) : 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event e = {source, 2, 3};

	return send((struct message *)&e);
}
