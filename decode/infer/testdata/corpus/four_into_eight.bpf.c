// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Stores of 4 bytes do not fit the only type of the size, an array of 8-byte numbers.
#include "corpus.h"

struct totals {
	__u64 counts[2];
};
HEAP(heap, struct totals);

struct event {
	__u32 pid;
	__u32 uid;
	__u32 gid;
	__u32 code;
};
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	__u32 zero = 0;
	struct totals *t = bpf_map_lookup_elem(&heap, &zero);
	struct event *e;

	if (t)
		t->counts[0]++;
	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->uid = zero;
	e->gid = (__u32)bpf_get_current_uid_gid();
	e->code = 3;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
