// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A union after a header, chosen by the header's kind.
#include "corpus.h"

enum kind { KIND_FILE = 1, KIND_SOCKET = 2 };
struct event {
	enum kind kind;
	__u32 pid;
	union {
		struct {
			__u64 inode;
			__u32 flags;
		} file;
		struct {
			__u32 addr;
			__u16 port;
		} socket;
	};
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->kind = KIND_FILE;
	e->pid = 42;
	e->file.inode = 9;
	e->file.flags = 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->kind = KIND_SOCKET;
	e->pid = 43;
	e->socket.addr = 0x0100007f;
	e->socket.port = 443;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
