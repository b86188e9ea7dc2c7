// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A user ring whose callback passes members of the sample to a helper, and reads none.
#include "corpus.h"

#define BPF_MAP_TYPE_USER_RINGBUF 31

struct pair {
	__u32 number;
	__u32 weight;
};
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 64 << 10);
} rb SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} numbers SEC(".maps");

static long take(struct bpf_dynptr *sample, void *ctx)
{
	struct pair *pair;

	pair = bpf_dynptr_data(sample, 0, sizeof(*pair));
	if (pair) {
		bpf_ringbuf_output(&numbers, &pair->number, sizeof(pair->number), 0);
		bpf_ringbuf_output(&numbers, &pair->weight, sizeof(pair->weight), 0);
	}
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	return bpf_user_ringbuf_drain(&rb, take, NULL, 0);
}
