// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is copied from the value of a hash.
#include "corpus.h"

struct event {
	__u64 start;
	__u32 pid;
	__u32 state;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct event);
} started SEC(".maps");
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event first = {.start = 5, .pid = 42, .state = 1}, *known, *e;
	__u32 key = 42;

	bpf_map_update_elem(&started, &key, &first, BPF_ANY);
	known = bpf_map_lookup_elem(&started, &key);
	if (!known)
		return 0;
	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	*e = *known;
	e->state = 2;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
