// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The first member is set to a constant, and then by a helper.
#include "corpus.h"

struct sock_event {
	__u32 mark;
	__u32 pid;
	__u64 cookie;
};
struct file_event {
	__u32 kind;
	__u32 pid;
	__u32 fd;
};
RING(rb);
__u32 source = 7;

static __attribute__((noinline)) int fill_sock(struct sock_event *e)
{
	if (!e)
		return 0;
	e->pid = 1;
	e->cookie = 99;
	return 0;
}

static __attribute__((noinline)) int fill_file(struct file_event *e)
{
	if (!e)
		return 0;
	e->pid = 2;
	e->fd = 3;
	return 0;
}

SEC("raw_tp")
int p(void *ctx)
{
	struct sock_event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->mark = 0;
	fill_sock(e);
	bpf_probe_read_kernel(&e->mark, sizeof(e->mark), &source);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct file_event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->kind = 7;
	fill_file(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
