// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A variable exports the type of a map's keys, which has the size of the record.
#include "corpus.h"

struct key {
	__u32 addr;
	__u32 port;
};
const struct key *unused __attribute__((unused));
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct key);
	__type(value, __u64);
} seen SEC(".maps");

struct event {
	__u32 pid;
	__u32 state;
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct key k = {.addr = 1, .port = 2};
	__u64 *count = bpf_map_lookup_elem(&seen, &k);
	struct event *e;

	if (count)
		(*count)++;
	e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);
	if (!e)
		return 0;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->state = 6;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
