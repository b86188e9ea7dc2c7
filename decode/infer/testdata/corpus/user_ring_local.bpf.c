// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The callback that drains a user ring reads a struct that is in no BTF.
#include "corpus.h"

#define BPF_MAP_TYPE_USER_RINGBUF 31

struct command {
	__u32 kind;
	__u32 pid;
	__u64 deadline;
};
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 64 << 10);
} rb SEC(".maps");
__u32 kind, pid;
__u64 deadline;

static long take(struct bpf_dynptr *sample, void *ctx)
{
	struct command *c;

	c = bpf_dynptr_data(sample, 0, sizeof(*c));
	if (!c)
		return 0;
	kind = c->kind;
	pid = c->pid;
	deadline = c->deadline;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	return bpf_user_ringbuf_drain(&rb, take, NULL, 0);
}
