// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// One ring a CPU, in an ARRAY_OF_MAPS.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 cpu;
	__u64 time;
};
const struct event *unused __attribute__((unused));

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} rb SEC(".maps"), other SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps") = {.values = {&rb, &other}};

volatile __u32 which;

SEC("raw_tp")
int p(void *ctx)
{
	__u32 key = which & 1;
	void *ring = bpf_map_lookup_elem(&rings, &key);
	struct event *e;

	if (!ring)
		return 0;
	e = bpf_ringbuf_reserve(ring, sizeof(struct event), 0);
	if (!e)
		return 0;
	e->pid = 42;
	e->cpu = key;
	e->time = 5;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
