// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The ring's definition names the type of its records: a convention of cilium/ebpf.
#include "corpus.h"

struct event {
	__u64 when;
	__u32 pid;
	__s32 result;
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
	__type(value, struct event);
} rb SEC(".maps");
volatile __u32 source = 42;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->when = 5;
	e->pid = source;
	e->result = -13;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
