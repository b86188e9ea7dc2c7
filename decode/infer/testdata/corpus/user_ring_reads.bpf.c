// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A user ring whose samples are in no BTF: the loads of the callback name their members.
#include "corpus.h"

#define BPF_MAP_TYPE_USER_RINGBUF 31

struct command {
	__u32 kind;
	__u32 pid;
	__u64 value;
};
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 64 << 10);
} rb SEC(".maps");
__u32 last;
__u64 total;

static long take(struct bpf_dynptr *sample, void *ctx)
{
	const struct command *c = bpf_dynptr_data(sample, 0, sizeof(struct command));

	if (!c)
		return 0;
	if (c->kind == 1)
		last = c->pid;
	total += c->value;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	return bpf_user_ringbuf_drain(&rb, take, NULL, 0);
}
