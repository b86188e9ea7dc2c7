// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Structs that are filled on the stack, then copied into the record: all of it, or a member.
#include "corpus.h"

struct key {
	__u32 port;
	__u32 kind;
};

struct event {
	__u64 ts;
	__u32 pid;
	__u32 size;
	struct key key;
	char comm[16];
};

struct other {
	__u32 cpu;
	struct key key;
};
RING(rb);
volatile __u32 choice = 2;

static __always_inline void send(const struct event *ev)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

	if (!e)
		return;
	__builtin_memcpy(e, ev, sizeof(*e));
	bpf_ringbuf_submit(e, 0);
}

SEC("raw_tp")
int p(void *ctx)
{
	struct event ev = {};

	ev.ts = 1000;
	ev.pid = choice + 40;
	ev.size = choice;
	ev.key.port = choice + 78;
	bpf_get_current_comm(ev.comm, sizeof(ev.comm));
	ev.key.kind = 4;
	send(&ev);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct key k = {};
	struct other *o;

	bpf_probe_read_kernel(&k.port, sizeof(k.port), (void *)&choice);
	k.kind = choice;
	o = bpf_ringbuf_reserve(&rb, sizeof(*o), 0);
	if (!o)
		return 0;
	o->cpu = choice + 1;
	o->key = k;
	bpf_ringbuf_submit(o, 0);
	return 0;
}
