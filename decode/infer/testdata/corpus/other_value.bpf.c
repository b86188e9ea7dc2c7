// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The memory of a map that has another type of value, of which one member is alike.
#include "corpus.h"

struct opened {
	__u32 pid;
	__u32 flags;
	__u64 ts;
	char name[32];
};
struct exited {
	__u64 duration;
	__u32 pid;
	__u32 code;
	char name[32];
};
HEAP(heap, struct opened);
RING(rb);
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct exited *e = bpf_map_lookup_elem(&heap, &zero);

	if (!e)
		return 0;
	e->duration = source;
	e->pid = source;
	e->code = source;
	bpf_get_current_comm(e->name, sizeof(e->name));
	return bpf_ringbuf_output(&rb, e, sizeof(*e), 0);
}
