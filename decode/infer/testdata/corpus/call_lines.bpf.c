// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Calls that go over several lines: and calls in inlined functions: only the
// instruction that computes the address has the line of the member.
#include "corpus.h"

struct peer {
	__u32 id;
	char name[24];
};

struct event {
	__u32 pid;
	struct peer peer;
	char comm[16];
	__u32 number;
	char path[12];
};
RING(rb);
char source[24] = "/usr/bin/env";
__u32 number = 7;

static __always_inline void read_path(char *to, __u32 size)
{
	if (number)
		bpf_probe_read_kernel_str(to, size, source);
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 42;
	e->peer.id = source[0];
	bpf_get_current_comm(
		e->comm,
		sizeof(e->comm));
	if (bpf_probe_read_kernel_str(
		    e->peer.name,
		    sizeof(e->peer.name),
		    source) < 0)
		e->pid = 43;
	bpf_probe_read_kernel(
		&e->number,
		sizeof(e->number),
		&number);
	read_path(e->path, sizeof(e->path));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
