// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Rings in a HASH_OF_MAPS, and a struct that is in no BTF.
#include "corpus.h"

struct event {
	__u32 tenant;
	__u32 size;
	__u64 time;
};

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} rb SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps") = {.values = {[3] = &rb}};

SEC("raw_tp")
int p(void *ctx)
{
	__u32 key = 3;
	void *ring = bpf_map_lookup_elem(&rings, &key);
	struct event *e;

	if (!ring)
		return 0;
	e = bpf_ringbuf_reserve(ring, sizeof(*e), 0);
	if (!e)
		return 0;
	e->tenant = key;
	e->size = 64;
	e->time = 5;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
