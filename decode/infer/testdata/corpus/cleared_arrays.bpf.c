// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Two loops clear arrays that lie beside each other: the compiler makes a memset of both, with one line.
#include "corpus.h"

struct event {
	__u32 pid;
	__u8 saddr[16];
	__u8 daddr[16];
	__u32 cpu;
};
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->pid = source;
	for (int i = 0; i < 16; i++)
		e->saddr[i] = 0;
	for (int i = 0; i < 16; i++)
		e->daddr[i] = 0;
	e->cpu = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
