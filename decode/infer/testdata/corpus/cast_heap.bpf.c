// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The buffer's type is an array of bytes; the struct is in no BTF.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 kind;
	__u64 value;
};
HEAP(heap, char[512]);
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct event *e = bpf_map_lookup_elem(&heap, &zero);

	if (!e)
		return 0;
	e->pid = source;
	e->kind = 3;
	e->value = 9;
	return bpf_ringbuf_output(&rb, e, sizeof(*e), 0);
}
