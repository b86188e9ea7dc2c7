// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The map's values are a struct of nothing but an array: room for any record.
#include "corpus.h"

struct room {
	__u64 words[4];
};

struct event {
	__u32 pid;
	__u32 cpu;
	__u64 kind;
	char comm[16];
};
const struct event *unused __attribute__((unused));
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct room);
} heap SEC(".maps");
RING(rb);

static __always_inline void *buffer(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&heap, &zero);
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = buffer();

	if (!e)
		return 0;
	e->pid = 42;
	e->cpu = 3;
	e->kind = 5;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_output(&rb, e, sizeof(*e), 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	void *data = buffer();

	if (data)
		bpf_ringbuf_output(&rb, data, sizeof(struct event), 0);
	return 0;
}
