// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Programs of one ring write different members of a union. One writes none of them, and the kind of another: loaders load
// the programs in any order.
#include "corpus.h"

struct event {
	__u32 kind;
	__u32 pid;
	__u64 time;
	__u32 code;
	union {
		char command[32];
		char file[16];
		struct {
			__s32 fd;
			__u32 flags;
		} op;
	};
	__u32 gone;
};
RING(rb);

SEC("raw_tp")
int ended(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->kind = 1;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->time = 7;
	e->code = bpf_get_smp_processor_id() & 0;
	e->gone = 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int began(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->kind = 1;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->time = 8;
	bpf_probe_read_kernel_str(e->file, sizeof(e->file), "/bin/true");
	e->gone = 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int typed(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->kind = 2;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->time = 9;
	bpf_probe_read_kernel_str(e->command, sizeof(e->command), "ls");
	e->gone = 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int opened(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return 0;
	e->kind = 3;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->time = 10;
	e->op.fd = bpf_get_smp_processor_id() & 0;
	e->op.flags = 5;
	e->gone = 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
