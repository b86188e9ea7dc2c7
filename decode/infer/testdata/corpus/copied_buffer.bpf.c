// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A member is copied from a map's value, which is a struct of nothing but a buffer.
#include "corpus.h"

struct container {
	char id[24];
};
struct event {
	__u32 pid;
	__u32 kind;
	char container[24];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct container);
} containers SEC(".maps");
RING(rb);

static __always_inline void name(struct event *e)
{
	__u32 key = e->pid;
	struct container *c = bpf_map_lookup_elem(&containers, &key);

	if (c) {
		__builtin_memcpy(e->container, c->id, sizeof(e->container));
	} else {
		e->container[0] = 'h';
		e->container[1] = 'o';
		e->container[2] = '\0';
	}
}

SEC("raw_tp")
int p(void *ctx)
{
	struct container first = {.id = "4f2a"};
	__u32 key = 42;
	struct event *e;

	bpf_map_update_elem(&containers, &key, &first, BPF_ANY);
	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = key;
	e->kind = 2;
	name(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
