// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A timer writes the record, after the program has ended.
#include "corpus.h"

struct event {
	__u64 expired;
	__u32 count;
	__u32 kind;
};
struct element {
	struct bpf_timer timer;
	__u32 count;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct element);
} timers SEC(".maps");
RING(rb);

static int expired(void *map, __u32 *key, struct element *element)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->expired = 5;
	e->count = ++element->count;
	e->kind = 7;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("xdp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct element *element = bpf_map_lookup_elem(&timers, &zero);

	if (!element)
		return 2;
	bpf_timer_init(&element->timer, &timers, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&element->timer, expired);
	bpf_timer_start(&element->timer, 0, 0);
	return 2;
}
